"""Dynamic batching in threads: what feeds a network with whatever is ready.

As in Triton's dynamic batcher, items that arrive while no further call may start share the next. An
item's batch is chosen when a thread takes it, so that batches grow while the device is busy.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, Protocol, TypeVar

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded
from deployments.replica.deadline import Deadline
from deployments.replica.gathering import NotWanted

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Callback: called when a batch starts, with each item's queueing time in seconds.
OnBatchStart = Callable[[Sequence[float]], None]


class Threads(Protocol):
    """Threads that compute what they are given, in order."""

    @property
    def count(self) -> int: ...

    def submit(self, function: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Queued(Generic[Item, Answer]):
    """An item that waits for its batch.

    done: called once, in any thread, with the answer or the error. is_wanted: false once nobody
    waits for the answer.
    """

    item: Item
    deadline: Deadline
    done: Callable[[Answer | Exception], None]
    is_wanted: Callable[[], bool]
    at: float = field(default_factory=time.perf_counter)


class Feeder(Generic[Item, Answer]):
    """A queue in front of a function that takes many items and answers each of them.

    As many calls run at a time as there are threads. `submit` may be called from any thread.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Answer]],
        threads: Threads,
        *,
        max_batch_size: int,
        on_batch_start: OnBatchStart | None = None,
    ) -> None:
        self.max_batch_size = max_batch_size
        self._call = call
        self._threads = threads
        self._on_batch_start = on_batch_start
        self._queue: deque[Queued[Item, Answer]] = deque()
        self._running = 0
        self._lock = Lock()

    def submit(self, items: Sequence[Queued[Item, Answer]]) -> None:
        """Queue items; the error of `call` for an item, or DeadlineExceeded, is its answer.

        If a batch fails, each of its items is called again alone, so that one item does not fail
        the others.
        """
        with self._lock:
            self._queue.extend(items)
            # More threads than batches would find nothing, or split what could share one.
            start = self._running < self._threads.count
            self._running += start
        if start:
            self._threads.submit(self._run)

    def _run(self) -> None:
        """Call for one batch, and leave the next to whichever thread is free first."""
        try:
            if batch := self._next_batch():
                self._answer(batch)
        finally:
            with self._lock:
                more = bool(self._queue)
                self._running -= not more
            if more:
                self._threads.submit(self._run)

    def _next_batch(self) -> list[Queued[Item, Answer]]:
        """Take the oldest items off the queue; leave out those that are late or not wanted."""
        batch: list[Queued[Item, Answer]] = []
        dropped: list[tuple[Queued[Item, Answer], Exception]] = []
        with self._lock:
            while self._queue and len(batch) < self.max_batch_size:
                queued = self._queue.popleft()
                if queued.deadline.has_passed:
                    late = DeadlineExceeded("the answer was not ready in time")
                    dropped.append((queued, late))
                elif not queued.is_wanted():
                    dropped.append((queued, NotWanted()))
                else:
                    batch.append(queued)
        for queued, error in dropped:
            queued.done(error)
        return batch

    def _answer(self, batch: Sequence[Queued[Item, Answer]]) -> None:
        if self._on_batch_start:
            now = time.perf_counter()
            self._on_batch_start([now - queued.at for queued in batch])
        try:
            answers = self._call([queued.item for queued in batch])
        except (DeadlineExceeded, ModelUnavailable, Overloaded) as error:
            _fail(batch, error)  # these errors concern all items alike
        except Exception as error:
            if len(batch) == 1:
                batch[0].done(error)
            for queued in batch if len(batch) > 1 else ():
                self._answer([queued])
        else:
            for queued, answer in zip(batch, answers, strict=True):
                queued.done(answer)


def _fail(batch: Sequence[Queued[Item, Answer]], error: FaceGraphError) -> None:
    for queued in batch:
        # A copy for each: one error raised in several requests would keep the frames of all.
        queued.done(copy(error))
