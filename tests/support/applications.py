"""Further applications on the session's cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graph.cluster.launch import RunningGraph, deploy
from tests.support.waiting import TIMEOUT_S


@contextmanager
def added(running: RunningGraph, *applications: dict[str, Any]) -> Iterator[RunningGraph]:
    """Run these applications, too; yields them, of which the first one is called, and removes them
    afterwards."""
    content = running.content | {"applications": [*applications, *running.content["applications"]]}
    yield deploy(content, timeout_s=TIMEOUT_S)
    deploy(running.content, timeout_s=TIMEOUT_S)
