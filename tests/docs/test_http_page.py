"""docs/http.md and docs/galleries.md: their tables are the code's."""

import re

import pytest

from graph.http.api_route import ApiRoute
from graph.http.routes import ROUTES
from tests.support.errors import STATUS
from tests.support.profiles import ROOT

PAGE = (ROOT / "docs" / "http.md").read_text()
GALLERIES = (ROOT / "docs" / "galleries.md").read_text()


def test_the_table_of_errors_is_the_codes() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {code: int(status) for status, code in rows} == STATUS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_is_in_the_table(route: ApiRoute) -> None:
    page = GALLERIES if route.tag == "galleries" else PAGE
    assert f"`{route.method} {route.path.replace('{name}', 'NAME')}`" in page
