"""Batches grow with the load, and an item of a batch does not harm the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import pytest

from deployments.errors import FaceGraphError, InvalidImage, ModelUnavailable
from deployments.replica.batches import DynamicBatcher
from tests.support.waiting import TIMEOUT_S, let_tasks_run


def one_at_a_time(
    call: Callable[[Sequence[int]], Awaitable[Sequence[int | FaceGraphError]]],
    *,
    max_batch_size: int,
) -> DynamicBatcher[int, int]:
    return DynamicBatcher(call, has_room=lambda running: not running, max_batch_size=max_batch_size)


def test_an_answer_that_is_an_error_fails_its_item_alone() -> None:
    calls: list[list[int]] = []

    async def call(numbers: Sequence[int]) -> list[int | FaceGraphError]:
        calls.append(list(numbers))
        await asyncio.sleep(0.01)
        return [InvalidImage("minus one") if number < 0 else number for number in numbers]

    async def answers() -> list[int | BaseException]:
        batcher = one_at_a_time(call, max_batch_size=8)
        return await asyncio.gather(*map(batcher.submit, (1, 2, -1, 3)), return_exceptions=True)

    first, second, refused, last = asyncio.run(answers())
    assert (first, second, last) == (1, 2, 3)
    assert isinstance(refused, InvalidImage)
    assert calls == [[1], [2, -1, 3]]


def test_an_item_whose_own_call_is_cancelled_leaves_the_others_their_calls() -> None:
    async def answers() -> None:
        free = asyncio.Event()
        calls: list[list[int]] = []

        async def call(numbers: Sequence[int]) -> list[int]:
            calls.append(list(numbers))
            await asyncio.sleep(0.01)
            if len(numbers) > 1:
                raise ValueError("together")
            if numbers[0] == 2:
                raise asyncio.CancelledError
            if numbers[0] == 3:
                await free.wait()
            return list(numbers)

        batcher = one_at_a_time(call, max_batch_size=8)
        first, second, third = (asyncio.ensure_future(batcher.submit(n)) for n in (1, 2, 3))
        with pytest.raises(ModelUnavailable):
            await second
        fourth = asyncio.ensure_future(batcher.submit(4))
        await let_tasks_run()
        assert calls == [[1], [2, 3], [2], [3]]  # the third item's call still takes the room
        free.set()
        assert [await first, await third, await fourth] == [1, 3, 4]

    asyncio.run(answers())


def test_a_cancelled_call_fails_its_items() -> None:
    async def cancelled_call(numbers: Sequence[int]) -> list[int]:
        raise asyncio.CancelledError

    async def answer() -> int:
        batcher = one_at_a_time(cancelled_call, max_batch_size=2)
        return await asyncio.wait_for(batcher.submit(1), timeout=TIMEOUT_S)

    with pytest.raises(ModelUnavailable):
        asyncio.run(answer())


def test_a_lost_call_is_not_made_again_item_by_item() -> None:
    calls: list[list[int]] = []

    async def lost(numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        await asyncio.sleep(0.01)
        raise ModelUnavailable("a replica was lost")

    async def answers() -> list[int | BaseException]:
        batcher = one_at_a_time(lost, max_batch_size=8)
        return await asyncio.gather(*map(batcher.submit, range(4)), return_exceptions=True)

    assert all(isinstance(one, ModelUnavailable) for one in asyncio.run(answers()))
    assert calls == [[0], [1, 2, 3]]


def test_only_a_batch_of_one_has_its_requests_context() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[tuple[str, list[int]]] = []

    async def call(numbers: Sequence[int]) -> Sequence[int]:
        seen.append((request.get(), list(numbers)))
        await asyncio.sleep(0.01)
        return numbers

    async def ask(batcher: DynamicBatcher[int, int], number: int) -> int:
        request.set(f"request {number}")
        return await batcher.submit(number)

    async def answers() -> list[int]:
        batcher = one_at_a_time(call, max_batch_size=2)
        return await asyncio.gather(*(ask(batcher, number) for number in (1, 2, 3)))

    assert asyncio.run(answers()) == [1, 2, 3]
    assert seen == [("request 1", [1]), ("none", [2, 3])]


def test_an_abandoned_call_is_cancelled() -> None:
    cancelled: list[Sequence[int]] = []

    async def slow(numbers: Sequence[int]) -> list[int]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(numbers)
            raise
        return list(numbers)

    async def answers() -> None:
        batcher = one_at_a_time(slow, max_batch_size=8)
        first, second = (asyncio.ensure_future(batcher.submit(n)) for n in (1, 2))
        await let_tasks_run()
        second.cancel()  # queued behind the first one's call
        await let_tasks_run()
        assert cancelled == []
        first.cancel()
        await let_tasks_run()
        assert cancelled == [[1]]
        third = asyncio.ensure_future(batcher.submit(3))
        await let_tasks_run()
        third.cancel()
        await let_tasks_run()

    asyncio.run(answers())
    assert cancelled == [[1], [3]]
