"""Dynamic batching: items that arrive while every call is taken share the next call."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded
from deployments.replica.deadline import Deadline

T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer")

NEVER = Deadline()
# Is told, as a batch starts, how many seconds each of its items waited.
Started = Callable[[Sequence[float]], None]


@dataclass
class _Waiting(Generic[Item, Answer]):
    item: Item
    future: "asyncio.Future[Answer]"
    deadline: Deadline
    since: float = field(default_factory=time.perf_counter)
    context: Context = field(default_factory=copy_context)


class Batches(Generic[Item, Answer]):
    """Calls of one function that takes many items at a time and answers each of them.

    At most `at_once` calls run at a time. An item starts a call at once while fewer do; what comes
    while they all run goes together into the next one. So nothing waits for a batch to fill, and
    batches grow with the load. (`serve.batch` takes a batch from its queue before there is room to
    run it, so that its batches stay at one item under any load.)
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | FaceGraphError]]],
        *,
        at_once: int,
        max_batch_size: int,
        started: Started | None = None,
    ) -> None:
        """call: may answer an item with an error, which fails that item alone."""
        self.max_batch_size = max_batch_size
        self._started = started
        self._call = call
        self._at_once = at_once
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._running: dict[asyncio.Task[None], Sequence[_Waiting[Item, Answer]]] = {}

    async def answer(self, item: Item, deadline: Deadline = NEVER) -> Answer:
        """Raises what the call raises for this item; a batch that fails is called item by item, so
        that one of them does not fail the others. Raises DeadlineExceeded, and leaves the item out,
        if it comes to it too late."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, future, deadline))
        self._something_changed()
        try:
            return await future
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Ends calls that nobody waits for any more."""
        for task, batch in self._running.items():
            if all(waiting.future.done() for waiting in batch):
                task.cancel()

    def _something_changed(self) -> None:
        self._start()

    def _has_room(self) -> bool:
        """Whether another call may start beside those that run."""
        return len(self._running) < self._at_once

    def _fits(self, item: Item, batch: Sequence[Item]) -> bool:
        return len(batch) < self.max_batch_size

    def _start(self) -> None:
        while self._waiting and self._has_room():
            batch = self._next_batch()
            if batch:
                if self._started:
                    now = time.perf_counter()
                    self._started([now - waiting.since for waiting in batch])
                # A shared batch has a context of its own: it is no part of the request that happens
                # to start it, and does not end with it.
                context = batch[0].context if len(batch) == 1 else Context()
                task = context.run(asyncio.create_task, self._run(batch))
                self._running[task] = batch
                task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._something_changed()

    def _next_batch(self) -> list[_Waiting[Item, Answer]]:
        """The longest waiting items that somebody still waits for."""
        batch: list[_Waiting[Item, Answer]] = []
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.deadline.has_passed:
                self._fail([waiting], DeadlineExceeded("the answer was not ready in time"))
            elif not waiting.future.done():
                if batch and not self._fits(waiting.item, [one.item for one in batch]):
                    break
                batch.append(waiting)
            self._waiting.popleft()
        return batch

    async def _run(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._call([waiting.item for waiting in batch])
        except (DeadlineExceeded, ModelUnavailable, Overloaded) as error:
            self._fail(batch, error)  # not for what any one of them is
            return
        except Exception as error:
            if len(batch) > 1:
                alone = [self._run_alone(one) for one in batch if not one.future.done()]
                await asyncio.gather(*alone, return_exceptions=True)  # each tells its own future
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        except asyncio.CancelledError:
            self._fail(batch, ModelUnavailable("the call was given up; try again"))
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, FaceGraphError):
                self._fail([waiting], answer)
            elif not waiting.future.done():  # somebody still waits for it
                waiting.future.set_result(answer)

    async def _run_alone(self, one: _Waiting[Item, Answer]) -> None:
        try:
            await self._run([one])
        finally:
            self._something_changed()

    @staticmethod
    def _fail(batch: Sequence[_Waiting[Item, Answer]], error: FaceGraphError) -> None:
        for waiting in batch:
            if not waiting.future.done():
                # Each its own: raised in several tasks, one would keep the frames of all of them.
                waiting.future.set_exception(copy(error))


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each of them answers, all at the same time; where one fails, the others are given up."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


async def each(works: Sequence[Coroutine[Any, Any, T]]) -> list[T | FaceGraphError]:
    """What each of them answers, or which of our errors it raises, all at the same time."""

    async def outcome(work: Coroutine[Any, Any, T]) -> T | FaceGraphError:
        try:
            return await work
        except FaceGraphError as error:
            return error

    return await together([outcome(work) for work in works])
