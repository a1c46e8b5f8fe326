"""Calls are sent again when their replica is lost or silent, and for no other reason."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest
from ray.exceptions import ActorUnavailableError

from configs.calls import RetryConfig
from deployments.errors import InvalidImage
from graph.pipeline.retries import Attempt, NotAnswered, Retries

LOST = ActorUnavailableError("the replica is gone", None)


class Sent:
    """A call that ends in turn as told: an error is raised, a number of seconds slept."""

    def __init__(self, *ends: Exception | float) -> None:
        self._ends = list(ends)
        self.count = 0
        self.given_up = 0

    async def __call__(self, attempt: Attempt) -> int:
        self.count += 1
        mine = self.count
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        try:
            await asyncio.sleep(end)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return mine


def answered(call: Callable[[Attempt], Awaitable[int]], **config: float) -> int:
    settings = RetryConfig.model_validate({"backoff_s": 0, **config})

    async def answer() -> int:
        answer = await Retries(settings).answer(call)
        await asyncio.sleep(0.01)  # for what was given up to end
        return answer

    return asyncio.run(answer())


def test_a_call_whose_replica_is_lost_is_sent_again() -> None:
    sent = Sent(LOST, LOST, 0)
    assert answered(sent, attempts=3) == 3


def test_a_call_is_sent_no_more_often_than_configured() -> None:
    sent = Sent(LOST, LOST, 0)
    with pytest.raises(ActorUnavailableError):
        answered(sent, attempts=2)
    assert sent.count == 2


@pytest.mark.parametrize("end", [LOST, 60.0], ids=["lost", "silent"])
def test_a_caller_may_send_something_else_instead(end: Exception | float) -> None:
    sent, reasons = Sent(end), list[str]()
    retries = Retries(RetryConfig(backoff_s=0, hedge_after_s=0.05), reasons.append)

    async def once() -> None:
        with pytest.raises(NotAnswered):
            await retries.answer_once(sent)
        await asyncio.sleep(0.01)

    asyncio.run(once())
    assert sent.count == 1
    assert (reasons, sent.given_up) == ((["lost"], 0) if end is LOST else (["silent"], 1))


def test_with_one_attempt_nothing_else_is_sent_either() -> None:
    retries = Retries(RetryConfig(attempts=1, hedge_after_s=0.05))
    assert asyncio.run(retries.answer_once(Sent(0.2))) == 1
    with pytest.raises(ActorUnavailableError):
        asyncio.run(retries.answer_once(Sent(LOST)))


def test_a_stages_own_error_is_not_tried_again() -> None:
    sent = Sent(InvalidImage("image: not a readable image"), 0)
    with pytest.raises(InvalidImage):
        answered(sent)
    assert sent.count == 1


def test_a_silent_call_is_sent_once_more_and_the_first_answer_counts() -> None:
    sent = Sent(60, 0)
    assert answered(sent, hedge_after_s=0.05) == 2
    assert (sent.count, sent.given_up) == (2, 1)


def test_every_sending_but_the_first_is_told_with_its_reason() -> None:
    told: list[str] = []
    config = RetryConfig(backoff_s=0, hedge_after_s=0.05, attempts=3)
    assert asyncio.run(Retries(config, told.append).answer(Sent(LOST, 60, 0))) == 3
    assert told == ["lost", "silent"]
    asyncio.run(Retries(config, told.append).answer(Sent(0)))
    with pytest.raises(ActorUnavailableError):
        asyncio.run(Retries(RetryConfig(attempts=1), told.append).answer(Sent(LOST)))
    assert told == ["lost", "silent"]


def test_a_slow_call_keeps_its_place_while_a_second_is_under_way() -> None:
    sent = Sent(0.3, 60)
    assert answered(sent, hedge_after_s=0.05, attempts=2) == 1
    assert (sent.count, sent.given_up) == (2, 1)


def test_a_replica_lost_while_another_attempt_is_under_way_fails_nothing() -> None:
    async def lost_later(attempt: Attempt) -> int:
        await asyncio.sleep(0.1)
        raise LOST

    slow = Sent(0.4)
    calls: list[Callable[[Attempt], Awaitable[int]]] = [lost_later, slow]
    assert answered(lambda one: calls.pop(0)(one), hedge_after_s=0.05, attempts=2) == 1


def test_whoever_gives_up_waiting_cancels_every_attempt() -> None:
    sent = Sent(60, 60)

    async def give_up() -> None:
        retries = Retries(RetryConfig(hedge_after_s=0.02, attempts=2))
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await retries.answer(sent)
        await asyncio.sleep(0.01)

    asyncio.run(give_up())
    assert (sent.count, sent.given_up) == (2, 2)
