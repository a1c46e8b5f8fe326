"""A gallery on the session's graph for the tests of commands."""

from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture
def gallery(http: httpx.Client) -> Iterator[str]:
    """The id of a gallery without persons."""
    http.put("/v1/galleries/people").raise_for_status()
    yield "people"
    http.delete("/v1/galleries/people").raise_for_status()
