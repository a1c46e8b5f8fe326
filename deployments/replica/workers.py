"""The threads in which a replica computes, so that its event loop never does."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import ParamSpec, TypeVar

import cv2

from deployments.contracts import Span
from deployments.replica.batches import Answer, Batches, Item, Started
from deployments.replica.deadline import Deadline

P = ParamSpec("P")
T = TypeVar("T")


class Stuck(RuntimeError):
    """A computation of this replica does not end."""


class Workers:
    """At most `count` computations of this replica run at a time; the others wait in order."""

    def __init__(self, count: int, *, stuck_after_s: float) -> None:
        # OpenCV would start a thread on every core for each of them.
        cv2.setNumThreads(1)
        self.count = count
        self.busy_time = BusyTime(count)
        self._stuck_after_s = stuck_after_s
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="facegraph")
        self._canaries = ThreadPoolExecutor(1, thread_name_prefix="facegraph-canary")
        self._computing: dict[int, float] = {}  # when each busy thread began

    async def run(
        self, deadline: Deadline, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Raises DeadlineExceeded, and computes nothing, if it comes to it too late."""

        def compute() -> T:
            deadline.require()
            thread = threading.get_ident()
            self._computing[thread] = time.monotonic()
            try:
                with self.busy_time.counted():
                    return function(*args, **kwargs)
            finally:
                del self._computing[thread]

        return await asyncio.get_running_loop().run_in_executor(self._threads, compute)

    async def check_health(self, canary: Callable[[], object]) -> None:
        """Raises Stuck, or what the canary raises.

        The canary has a thread of its own: behind the requests, a long queue would pass for a
        failure, and one stuck thread of several would go unseen.
        """
        began = min(list(self._computing.values()), default=math.inf)
        stuck_s = time.monotonic() - began
        if stuck_s > self._stuck_after_s:
            raise Stuck(f"a computation has not ended for {stuck_s:.0f} s")
        await asyncio.get_running_loop().run_in_executor(self._canaries, canary)

    def batches(
        self,
        function: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_batch_size: int,
        started: Started | None = None,
    ) -> "Batches[Item, Answer]":
        """Calls of `function`, one for each worker at a time."""

        async def call(items: Sequence[Item]) -> Sequence[Answer]:
            return await self.run(Deadline(), function, items)

        return Batches(call, at_once=self.count, max_batch_size=max_batch_size, started=started)


class Stopwatch:
    """Measures one stage's work on an image, its waiting for a thread or a batch included."""

    def __init__(self, stage: str, image: str | None) -> None:
        self._stage, self._image = stage, image
        self._started_at = time.time()
        self._started = time.perf_counter()

    def stop(self) -> Span:
        return Span(self._stage, self._image, self._started_at, time.perf_counter() - self._started)


class BusyTime:
    """Worker-seconds since the replica started; a thousandth of a millisecond for each count."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._busy_s = 0.0
        self._lock = Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around what one of the workers computes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self._busy_s += took

    def stats(self) -> dict[str, float]:
        """What a replica's `record_autoscaling_stats` answers; `busy_s` only grows."""
        return {"busy_s": self._busy_s, "workers": self._workers}
