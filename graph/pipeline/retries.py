"""Retries of calls whose replica dies, and hedges of calls whose replica gives no answer.

A hedged request is sent to a second replica when the first has not answered in time, and the first
answer counts (Dean and Barroso, The Tail at Scale, Communications of the ACM 56(2), 2013).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from ray.serve.handle import DeploymentResponse

from configs.calls import RetryConfig
from graph.pipeline.failures import cancel, is_lost, lost_actor, replica_lost
from graph.pipeline.replicas import report_loss

Answer = TypeVar("Answer")
# Why a call is sent again: its replica died (retry), or gave no answer in time (hedge).
Reason = Literal["lost", "silent"]


class NotAnswered(Exception):
    """A call's replica died or fell silent, and the call was not sent again."""


class Attempt:
    """One attempt at a call or at a chain of calls, with its responses, which it can cancel."""

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
    """Sends calls, with retries and hedges. Stages only compute, so a call may be sent twice.

    A call whose replica died is sent again after a pause that doubles each time. A call without an
    answer after `hedge_after_s` is hedged: if its replica hangs, another one answers; if all
    replicas are busy, the first attempt keeps its place in the queue, and the other attempts are
    cancelled when it is answered.
    """

    def __init__(
        self, config: RetryConfig, sent_again: Callable[[Reason], None] | None = None
    ) -> None:
        """sent_again: called for every attempt after a call's first."""
        self._config = config
        self._sent_again = sent_again

    async def answer(self, call: Callable[[Attempt], Awaitable[Answer]]) -> Answer:
        """Return the first answer of up to `attempts` attempts at the call.

        Raises the first error that is not the loss of a replica, or the loss if no attempt is left.
        Has no deadline of its own: cancelling it cancels all attempts.
        """
        running = {asyncio.create_task(_attempt(call))}
        attempts_left, backoff_s = self._config.attempts - 1, self._config.backoff_s
        pause_s = 0.0
        try:
            while True:
                ended, running = await asyncio.wait(
                    running,
                    timeout=pause_s + self._config.hedge_after_s if attempts_left else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in sorted(ended, key=_is_lost):
                    if not _is_lost(task) or not (attempts_left or running):
                        return _answer_of(task)
                if not attempts_left:
                    continue
                pause_s = backoff_s if ended else 0.0
                running.add(asyncio.create_task(self._again(call, pause_s, lost=bool(ended))))
                attempts_left -= 1
                if ended:
                    backoff_s *= 2
        finally:
            for task in running:
                task.add_done_callback(_forget)
                task.cancel()

    async def _again(
        self, call: Callable[[Attempt], Awaitable[Answer]], pause_s: float, *, lost: bool
    ) -> Answer:
        """Make another attempt after a pause, in which the answer of an earlier one cancels it."""
        await asyncio.sleep(pause_s)
        if self._sent_again:
            self._sent_again("lost" if lost else "silent")
        return await _attempt(call)

    async def answer_once(self, call: Callable[[Attempt], Awaitable[Answer]]) -> Answer:
        """Return the answer of a single attempt at the call, or raise its error.

        Raises NotAnswered if the replica dies or falls silent, so that the caller can send another
        call instead. With `attempts: 1` no other call may be sent, so it does the same as `answer`.
        """
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
    except BaseException as error:
        attempt.cancel()
        if lost := lost_actor(error):
            report_loss(lost)
            del lost  # it would refer to itself through this frame
        raise


def _answer_of(task: "asyncio.Task[Answer]") -> Answer:
    if task.cancelled():
        raise replica_lost()
    return task.result()


def _is_lost(task: "asyncio.Task[Any]") -> bool:
    if task.cancelled():  # by the end of its replica: nothing else cancels a running attempt
        return True
    error = task.exception()
    return error is not None and is_lost(error)


def _forget(task: "asyncio.Task[Any]") -> None:
    """Read a cancelled task's error, which asyncio would log otherwise."""
    if not task.cancelled():
        task.exception()
