"""Dynamic batching in the event loop.

As in Triton's dynamic batcher, items that arrive while no further call may start share the next.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import OnBatchStart as OnBatchStart

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_NO_DEADLINE = Deadline()


@dataclass
class QueuedItem(Generic[Item, Answer]):
    """An item, queued or in a running batch, with the future of its answer.

    The future is done once it has the answer or an error, or once its caller is cancelled.
    """

    item: Item
    future: "asyncio.Future[Answer]"
    deadline: Deadline
    queued_at: float = field(default_factory=time.perf_counter)
    context: Context = field(default_factory=copy_context)


RunningBatches = Collection[Sequence[QueuedItem[Any, Any]]]
# Callback: true if a call may start beside the running batches.
HasRoom = Callable[[RunningBatches], bool]


class DynamicBatcher(Generic[Item, Answer]):
    """A queue in front of a function that takes many items and answers each of them.

    An item starts a call at once while there is room for one. Items that arrive while there is none
    share the next call. So no item waits for a batch to fill, and batches grow with the load.
    (`serve.batch` takes a batch from its queue before there is room to run it, so that its batches
    stay at one item under any load.)
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | FaceGraphError]]],
        *,
        has_room: HasRoom,
        max_batch_size: int,
        fits: Callable[[Item, Sequence[Item]], bool] | None = None,
        schedule: Callable[[Callable[[], None]], object] | None = None,
        on_batch_start: OnBatchStart | None = None,
    ) -> None:
        """
        call: answers each item, in order; an error as an answer fails its item alone.
        fits: true if an item may join a batch of one or more items that is below max_batch_size.
        schedule: called when a batch may start, with the function that starts batches; by default
        they start at once. Whoever makes room otherwise than by an answer calls `wake`.
        """
        self.max_batch_size = max_batch_size
        self._call = call
        self._has_room = has_room
        self._fits = fits
        self.wake = partial(schedule, self._start_batches) if schedule else self._start_batches
        self._on_batch_start = on_batch_start
        self._queue: deque[QueuedItem[Item, Answer]] = deque()
        self._running: dict[asyncio.Task[None], Sequence[QueuedItem[Item, Answer]]] = {}

    async def submit(self, item: Item, deadline: Deadline = _NO_DEADLINE) -> Answer:
        """Return the item's answer.

        Raises the error of `call` for this item. If a batch fails, each of its items is called
        again alone, so that one item does not fail the others. Raises DeadlineExceeded, without a
        call, for an item whose deadline has passed when its turn comes.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(QueuedItem(item, future, deadline))
        self.wake()
        try:
            return await future
        except asyncio.CancelledError:
            self._cancel_abandoned()
            raise
        finally:
            del future  # an error in it would refer to itself through this frame

    def _cancel_abandoned(self) -> None:
        """Cancel the calls whose items are all done."""
        for task, batch in self._running.items():
            if all(queued.future.done() for queued in batch):
                task.cancel()

    def _start_batches(self) -> None:
        while self._queue and self._has_room(self._running.values()):
            if batch := self._next_batch():
                self._start(batch)

    def _start(self, batch: Sequence[QueuedItem[Item, Answer]]) -> None:
        if self._on_batch_start:
            now = time.perf_counter()
            self._on_batch_start([now - queued.queued_at for queued in batch])
        # A batch of several items has an empty context: it belongs to none of their requests, and
        # does not end with the request that happens to start it.
        context = batch[0].context if len(batch) == 1 else Context()
        task = context.run(asyncio.create_task, self._run(batch))
        self._running[task] = batch
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.wake()

    def _next_batch(self) -> list[QueuedItem[Item, Answer]]:
        """Take the oldest items off the queue; leave out those that are late or abandoned."""
        batch: list[QueuedItem[Item, Answer]] = []
        while self._queue:
            queued = self._queue[0]
            if queued.deadline.has_passed:
                _fail([queued], DeadlineExceeded("the answer was not ready in time"))
            elif not queued.future.done():
                if batch and not self._may_join(queued.item, batch):
                    break
                batch.append(queued)
            self._queue.popleft()
        return batch

    def _may_join(self, item: Item, batch: Sequence[QueuedItem[Item, Answer]]) -> bool:
        if len(batch) >= self.max_batch_size:
            return False
        return self._fits is None or self._fits(item, [queued.item for queued in batch])

    async def _run(self, batch: Sequence[QueuedItem[Item, Answer]]) -> None:
        try:
            answers = await self._call([queued.item for queued in batch])
        except (DeadlineExceeded, ModelUnavailable, Overloaded) as error:
            _fail(batch, error)  # these errors concern all items alike
            return
        except Exception as error:
            if len(batch) > 1:
                alone = [self._run_alone(one) for one in batch if not one.future.done()]
                await asyncio.gather(*alone, return_exceptions=True)  # each sets its own future
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        except asyncio.CancelledError:
            _fail(batch, ModelUnavailable("the call was given up; try again"))
            raise
        for queued, answer in zip(batch, answers, strict=True):
            if isinstance(answer, FaceGraphError):
                _fail([queued], answer)
            elif not queued.future.done():
                queued.future.set_result(answer)

    async def _run_alone(self, queued: QueuedItem[Item, Answer]) -> None:
        try:
            await self._run([queued])
        finally:
            self.wake()


def _fail(batch: Sequence[QueuedItem[Any, Any]], error: FaceGraphError) -> None:
    for queued in batch:
        if not queued.future.done():
            # A copy for each: one error raised in several tasks would keep the frames of all.
            queued.future.set_exception(copy(error))
