"""Calls are sent again if their replica dies or falls silent, and for no other reason."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from ray.exceptions import ActorUnavailableError

from configs.calls import RetryConfig
from deployments.errors import InvalidImage, ModelUnavailable
from graph.pipeline.retries import Attempt, NotAnswered, Retries
from tests.support.waiting import let_tasks_run, wait_until_async

LOST = ActorUnavailableError("the replica is gone", None)


class Sent:
    """A call whose attempts end as listed, in order: by raising an error, or after seconds."""

    def __init__(self, *ends: Exception | float) -> None:
        self._ends = list(ends)
        self.count = 0
        self.cancelled = 0

    async def __call__(self, attempt: Attempt) -> int:
        self.count += 1
        attempt_number = self.count
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        try:
            await asyncio.sleep(end)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return attempt_number


def answered(call: Callable[[Attempt], Awaitable[int]], **config: float) -> int:
    settings = RetryConfig.model_validate({"backoff_s": 0, **config})

    async def answer() -> int:
        answer = await Retries(settings).answer(call)
        await let_tasks_run()  # for cancelled attempts to end
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


def test_a_call_that_ends_with_its_replica_is_the_loss_of_a_replica() -> None:
    async def ended_by_serve(attempt: Attempt) -> int:
        raise asyncio.CancelledError

    with pytest.raises(ModelUnavailable, match="a replica of the graph was lost"):
        answered(ended_by_serve, attempts=2)


@pytest.mark.parametrize("end", [LOST, 60.0], ids=["lost", "silent"])
def test_the_caller_of_a_single_attempt_may_send_another_call(end: Exception | float) -> None:
    sent, reasons = Sent(end), list[str]()
    retries = Retries(RetryConfig(backoff_s=0, hedge_after_s=0.05), reasons.append)

    async def once() -> None:
        with pytest.raises(NotAnswered):
            await retries.answer_once(sent)
        await let_tasks_run()

    asyncio.run(once())
    assert sent.count == 1
    assert (reasons, sent.cancelled) == ((["lost"], 0) if end is LOST else (["silent"], 1))


def test_with_one_attempt_no_other_call_is_sent_either() -> None:
    retries = Retries(RetryConfig(attempts=1, hedge_after_s=0.05))
    assert asyncio.run(retries.answer_once(Sent(0.2))) == 1
    with pytest.raises(ActorUnavailableError):
        asyncio.run(retries.answer_once(Sent(LOST)))


def test_a_stages_own_error_is_not_retried() -> None:
    sent = Sent(InvalidImage("image: not a readable image"), 0)
    with pytest.raises(InvalidImage):
        answered(sent)
    assert sent.count == 1


def test_a_silent_call_is_hedged_and_the_first_answer_counts() -> None:
    sent = Sent(60, 0)
    assert answered(sent, hedge_after_s=0.05) == 2
    assert (sent.count, sent.cancelled) == (2, 1)


def test_every_attempt_but_the_first_is_reported_with_its_reason() -> None:
    reported: list[str] = []
    config = RetryConfig(backoff_s=0, hedge_after_s=0.05, attempts=3)
    assert asyncio.run(Retries(config, reported.append).answer(Sent(LOST, 60, 0))) == 3
    assert reported == ["lost", "silent"]
    asyncio.run(Retries(config, reported.append).answer(Sent(0)))
    with pytest.raises(ActorUnavailableError):
        asyncio.run(Retries(RetryConfig(attempts=1), reported.append).answer(Sent(LOST)))
    assert reported == ["lost", "silent"]


def test_a_slow_call_keeps_its_place_while_its_hedge_is_running() -> None:
    hedge = Sent(60)

    async def slow(attempt: Attempt) -> int:
        await wait_until_async(lambda: hedge.count == 1)
        return 0

    calls: list[Callable[[Attempt], Awaitable[int]]] = [slow, hedge]
    assert answered(lambda one: calls.pop(0)(one), hedge_after_s=0.05, attempts=2) == 0
    assert hedge.cancelled == 1


def test_no_attempt_is_sent_after_a_pause_in_which_another_was_answered() -> None:
    sent, reported = 0, list[str]()

    async def answer() -> int:
        hedged, in_the_pause = asyncio.Event(), asyncio.Event()

        async def call(attempt: Attempt) -> int:
            nonlocal sent
            sent += 1
            number = sent
            if number == 1:
                await hedged.wait()
                asyncio.get_running_loop().call_later(0.05, in_the_pause.set)
                raise LOST
            hedged.set()
            await in_the_pause.wait()
            return number

        config = RetryConfig(backoff_s=0.5, hedge_after_s=0.05, attempts=3)
        answer = await Retries(config, reported.append).answer(call)
        await asyncio.sleep(0.6)
        return answer

    assert asyncio.run(answer()) == 2
    assert (sent, reported) == (2, ["silent"])


def test_a_replica_lost_while_another_attempt_is_running_fails_nothing() -> None:
    async def lost_later(attempt: Attempt) -> int:
        await asyncio.sleep(0.1)
        raise LOST

    slow = Sent(0.4)
    calls: list[Callable[[Attempt], Awaitable[int]]] = [lost_later, slow]
    assert answered(lambda one: calls.pop(0)(one), hedge_after_s=0.05, attempts=2) == 1


def test_an_answer_counts_though_another_attempt_is_lost_at_the_same_moment() -> None:
    async def answer() -> int:
        moment, sent = asyncio.Event(), 0

        async def call(attempt: Attempt) -> int:
            nonlocal sent
            sent += 1
            number = sent
            if number == 2:
                asyncio.get_running_loop().call_soon(moment.set)
            await moment.wait()
            if number == 1:
                raise LOST
            return number

        return await Retries(RetryConfig(hedge_after_s=0.005, attempts=2)).answer(call)

    # Which of the two a set yields first differs from run to run.
    assert [asyncio.run(answer()) for _ in range(20)] == [2] * 20


def test_a_cancelled_caller_cancels_every_attempt() -> None:
    sent = Sent(60, 60)

    async def cancel() -> None:
        retries = Retries(RetryConfig(hedge_after_s=0.02, attempts=2))
        call = asyncio.ensure_future(retries.answer(sent))
        await wait_until_async(lambda: sent.count == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await let_tasks_run()

    asyncio.run(cancel())
    assert (sent.count, sent.cancelled) == (2, 2)
