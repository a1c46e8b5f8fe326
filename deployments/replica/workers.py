"""A replica's worker threads, which keep its event loop free, and the measurement of their work."""

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
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Answer, Feeder, Item, OnBatchStart

P = ParamSpec("P")
T = TypeVar("T")


class Stuck(RuntimeError):
    """A computation of this replica does not end."""


class Threads:
    """A pool of threads: at most `count` computations run at a time, the others queue."""

    def __init__(self, count: int, *, name: str) -> None:
        self.count = count
        self.busy_time = BusyTime(count)
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._started_at: dict[int, float] = {}  # time.monotonic() by id of each busy thread

    def submit(self, function: Callable[[], None]) -> None:
        """Call a function, which handles its errors, in one of the threads."""
        self._executor.submit(self.counted, function)

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in one of the threads; return its result or raise its error."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, self.counted, function
        )

    def counted(self, function: Callable[[], T]) -> T:
        """The function's result, computed in this thread."""
        thread = threading.get_ident()
        self._started_at[thread] = time.monotonic()
        try:
            with self.busy_time.counted():
                return function()
        finally:
            del self._started_at[thread]

    @property
    def oldest_s(self) -> float:
        """Seconds that the longest of the running computations has taken."""
        oldest = min(list(self._started_at.values()), default=math.inf)
        return time.monotonic() - oldest


class Workers:
    """A replica's threads: `count` workers and, for a device, feeders that call the network.

    Without feeders the workers call it.
    """

    def __init__(self, count: int, *, stuck_after_s: float, feeders: int = 0) -> None:
        # Otherwise each worker's OpenCV calls would use a thread for every core.
        cv2.setNumThreads(1)
        self.count = count
        self._stuck_after_s = stuck_after_s
        self._threads = Threads(count, name="facegraph")
        self._feeders = Threads(feeders, name="facegraph-feeder") if feeders else self._threads
        self._canaries = ThreadPoolExecutor(1, thread_name_prefix="facegraph-canary")

    async def run(
        self, deadline: Deadline, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the function in one of the threads; return its result or raise its error.

        Raises DeadlineExceeded, without a call, if the deadline has passed when its turn comes.
        """

        def compute() -> T:
            deadline.require()
            return function(*args, **kwargs)

        return await self._threads.run(compute)

    def submit(self, function: Callable[[], None]) -> None:
        """Call a function, which handles its errors, in one of the workers; from any thread."""
        self._threads.submit(function)

    def feeder(
        self,
        call: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_batch_size: int,
        on_batch_start: OnBatchStart | None = None,
    ) -> Feeder[Item, Answer]:
        """A queue of items for the network, which the feeders call."""
        return Feeder(
            call, self._feeders, max_batch_size=max_batch_size, on_batch_start=on_batch_start
        )

    def stats(self) -> dict[str, float]:
        """A replica's `record_autoscaling_stats`: the counter `busy_s`, and `workers`.

        Those of the feeders, if they are busier than the workers.
        """
        pools = (self._threads.busy_time, self._feeders.busy_time)
        busiest = max(pools, key=lambda pool: pool.busy_share_s)
        return {"busy_s": busiest.busy_share_s * self.count, "workers": self.count}

    async def check_health(self, canary: Callable[[], object]) -> None:
        """Raises Stuck if a computation runs for more than `stuck_after_s`, or the canary's error.

        The canary runs in a thread of its own: in the pool, it would fail behind a long queue of
        requests, and would not notice that one of several threads is stuck.
        """
        running_s = max(self._threads.oldest_s, self._feeders.oldest_s)
        if running_s > self._stuck_after_s:
            raise Stuck(f"a computation has not ended for {running_s:.0f} s")
        await asyncio.get_running_loop().run_in_executor(self._canaries, canary)


class Stopwatch:
    """Measures one stage's work on an image, including its wait for a thread or a batch."""

    def __init__(self, stage: str, image: str | None) -> None:
        self._stage, self._image = stage, image
        self._started_at = time.time()
        self._started = time.perf_counter()

    def stop(self) -> Span:
        return Span(self._stage, self._image, self._started_at, time.perf_counter() - self._started)


class BusyTime:
    """Worker-seconds that a replica has computed since it started.

    Their growth per second, divided by the number of workers, is the replica's utilisation. One
    measurement costs about a microsecond.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._busy_s = 0.0
        self._lock = Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add the time of the block, which one of the workers computes."""
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed_s = time.perf_counter() - started
            with self._lock:
                self._busy_s += elapsed_s

    @property
    def busy_share_s(self) -> float:
        """Seconds that a worker has computed, the mean of all."""
        return self._busy_s / self._workers

    def stats(self) -> dict[str, float]:
        """A replica's `record_autoscaling_stats`: the counter `busy_s`, and `workers`."""
        return {"busy_s": self._busy_s, "workers": self._workers}
