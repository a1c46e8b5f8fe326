"""The threads in which a replica computes, so that its event loop never does."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from deployments.contracts import Span

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """At most `count` computations of this replica run at a time; the others wait in order."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="facegraph")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))


class Stopwatch:
    """Measures one stage's work on an image, its waiting for a thread or a batch included."""

    def __init__(self, stage: str, image: str | None) -> None:
        self._stage, self._image = stage, image
        self._started_at = time.time()
        self._started = time.perf_counter()

    def stop(self) -> Span:
        return Span(self._stage, self._image, self._started_at, time.perf_counter() - self._started)
