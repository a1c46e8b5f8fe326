"""A graph whose processes are stopped while something else is measured.

An idle graph's Ray processes take a tenth of two cores, which the other side would lose.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.harness.processes import descendants
from graph.cluster.launch import own_graph

SETTLING_S, TIMEOUT_S = 1.0, 60.0


@dataclass(frozen=True)
class PausableGraph:
    """A running graph. processes: the direct children that own_graph started; they have started all
    the others."""

    url: str
    processes: frozenset[int]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process for the block. Then let them go on and wait until the graph is ready.

        Processes that go on first catch up with their timers; that takes about a second.
        """
        started = [one.pid for root in self.processes for one in descendants(root)]
        stopped = [*self.processes, *started]
        _send(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _send(stopped, signal.SIGCONT)
            self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        time.sleep(SETTLING_S)
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=10).is_success:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the graph was not ready {TIMEOUT_S} s after it had been paused")


@contextmanager
def pausable_graph(content: Mapping[str, Any], **options: Any) -> Iterator[PausableGraph]:
    """Start a graph; options: of `own_graph`. SIGTERM ends it too, even while it is stopped."""
    before = _children()
    ended_by = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with own_graph(dict(content), **options) as graph:
            yield PausableGraph(graph.url, _children() - before)
    finally:
        signal.signal(signal.SIGTERM, ended_by)


def _children() -> frozenset[int]:
    own = os.getpid()
    return frozenset(one.pid for one in descendants(own) if one.parent == own)


def _send(processes: list[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
