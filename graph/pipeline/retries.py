"""Calls of the stages, sent again where a replica died or fell silent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from ray.serve.handle import DeploymentResponse

from configs.calls import RetryConfig
from graph.pipeline.failures import cancel, is_lost

Answer = TypeVar("Answer")
# What happened to the sending before: its replica died, or gave no answer in time.
Reason = Literal["lost", "silent"]


class NotAnswered(Exception):
    """A call's replica died or fell silent, and the call was not sent again."""


class Attempt:
    """One sending of a call, which may be a chain of them: every response that it waits for, so
    that none is left behind."""

    def __init__(self) -> None:
        self._responses: list[DeploymentResponse[Any]] = []

    def send(self, method: Any, *args: Any, **kwargs: Any) -> DeploymentResponse[Any]:
        response: DeploymentResponse[Any] = method.remote(*args, **kwargs)
        self._responses.append(response)
        return response

    def cancel(self) -> None:
        for response in self._responses:
            cancel(response)


class Retries:
    """Stages only compute, so a call may be sent twice.

    One whose replica died is sent again. One that stays without an answer is sent once more beside
    the first: where its replica hangs, another answers; where all are only busy, the first keeps
    its place in the queue, and what is left of the second is cancelled when the first is answered.
    """

    def __init__(
        self, config: RetryConfig, sent_again: Callable[[Reason], None] | None = None
    ) -> None:
        """sent_again: told of every sending but a call's first."""
        self._config = config
        self._sent_again = sent_again

    async def answer(self, call: Callable[[Attempt], Awaitable[Answer]]) -> Answer:
        """What an attempt at the call answers first, or raises but for the loss of its replica.

        Sends until the attempts are used up; ends at its caller's deadline, whose cancellation
        cancels what is under way.
        """
        under_way: set[asyncio.Task[Answer]] = set()
        left, backoff_s = self._config.attempts, self._config.backoff_s
        try:
            while True:
                if left:
                    under_way.add(asyncio.create_task(_attempt(call)))
                    left -= 1
                ended, under_way = await asyncio.wait(
                    under_way,
                    timeout=self._config.hedge_after_s if left else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in ended:
                    if not _is_lost(task) or not (left or under_way):
                        return task.result()
                if left and self._sent_again:
                    self._sent_again("lost" if ended else "silent")
                if ended and left:
                    await asyncio.sleep(backoff_s)
                    backoff_s *= 2
        finally:
            for task in under_way:
                task.add_done_callback(_forget)
                task.cancel()

    async def answer_once(self, call: Callable[[Attempt], Awaitable[Answer]]) -> Answer:
        """What the call answers or raises, sent once. Raises NotAnswered where its replica dies or
        falls silent, for the caller to send something else, unless one attempt is all there is."""
        if self._config.attempts == 1:
            return await self.answer(call)
        task = asyncio.create_task(_attempt(call))
        try:
            ended, _ = await asyncio.wait({task}, timeout=self._config.hedge_after_s)
            if ended and not _is_lost(task):
                return task.result()
        finally:
            task.add_done_callback(_forget)
            task.cancel()
        if self._sent_again:
            self._sent_again("lost" if ended else "silent")
        if ended:
            await asyncio.sleep(self._config.backoff_s)
        raise NotAnswered


async def _attempt(call: Callable[[Attempt], Awaitable[Answer]]) -> Answer:
    attempt = Attempt()
    try:
        return await call(attempt)
    except BaseException:
        attempt.cancel()
        raise


def _is_lost(task: "asyncio.Task[Any]") -> bool:
    if task.cancelled():  # by the replica's end: nobody else cancels an attempt that is waited for
        return True
    error = task.exception()
    return error is not None and is_lost(error)


def _forget(task: "asyncio.Task[Any]") -> None:
    """Asyncio would log what a cancelled call raised."""
    if not task.cancelled():
        task.exception()
