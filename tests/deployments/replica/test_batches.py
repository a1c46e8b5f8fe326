"""Batches grow with the load, and an item of a batch does not harm the others."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import pytest

from deployments.errors import DeadlineExceeded, FaceGraphError, InvalidImage, ModelUnavailable
from deployments.replica.batches import (
    DynamicBatcher,
    fewer_calls_than,
    gather_or_cancel,
    gather_outcomes,
)
from deployments.replica.deadline import Deadline
from deployments.replica.workers import Workers


class Doubling:
    """Doubles numbers once it is let, but -1, which it refuses; keeps the batches that it saw."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.allowed = threading.Event()
        self.allowed.set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        assert self.allowed.wait(timeout=10)
        if -1 in numbers:
            raise ValueError("minus one")
        return [2 * number for number in numbers]


def one_at_a_time(
    call: Callable[[Sequence[int]], Awaitable[Sequence[int | FaceGraphError]]],
    *,
    max_batch_size: int,
) -> DynamicBatcher[int, int]:
    return DynamicBatcher(call, has_room=fewer_calls_than(1), max_batch_size=max_batch_size)


def test_a_lone_item_runs_at_once() -> None:
    double = Doubling()
    batcher = Workers(2, stuck_after_s=60).batcher(double, max_batch_size=8)
    assert asyncio.run(batcher.submit(4)) == 8
    assert double.batches == [[4]]


def test_what_comes_while_all_workers_are_busy_goes_together() -> None:
    double = Doubling()

    async def answers() -> list[int]:
        batcher = Workers(2, stuck_after_s=60).batcher(double, max_batch_size=3)
        double.allowed.clear()
        waiting = [asyncio.ensure_future(batcher.submit(number)) for number in range(7)]
        await asyncio.sleep(0.2)
        assert sorted(double.batches) == [[0], [1]]  # as many calls as workers, no more
        double.allowed.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(answers()) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(double.batches[2:]) == [[2, 3, 4], [5, 6]]


def test_each_batch_tells_how_long_its_items_waited() -> None:
    double = Doubling()
    told: list[Sequence[float]] = []

    async def answers() -> list[int]:
        batcher = Workers(1, stuck_after_s=60).batcher(
            double, max_batch_size=8, on_batch_start=told.append
        )
        double.allowed.clear()
        waiting = [asyncio.ensure_future(batcher.submit(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0.2)
        double.allowed.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(answers()) == [2, 4, 6]
    (first,), later = told
    assert first < 0.1
    assert len(later) == 2
    assert all(wait_s >= 0.1 for wait_s in later)


def test_an_item_that_fails_does_not_fail_its_neighbours() -> None:
    double = Doubling()

    async def answers() -> list[int | BaseException]:
        batcher = Workers(1, stuck_after_s=60).batcher(double, max_batch_size=8)
        return await asyncio.gather(
            *(batcher.submit(number) for number in (0, 5, -1, 6)), return_exceptions=True
        )

    found = asyncio.run(answers())
    assert found[:2] == [0, 10]
    assert isinstance(found[2], ValueError)
    assert found[3] == 12
    assert double.batches == [[0], [5, -1, 6], [5], [-1], [6]]


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


def test_one_that_is_cut_short_alone_leaves_the_others_their_calls() -> None:
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
        await asyncio.sleep(0.01)
        assert calls == [[1], [2, 3], [2], [3]]  # the third item's call still takes the room
        free.set()
        assert [await first, await third, await fourth] == [1, 3, 4]

    asyncio.run(answers())


def test_each_work_answers_or_fails_by_itself() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0.01 * number)
        if number == 1:
            raise InvalidImage("one")
        return number

    async def all_works() -> list[int | FaceGraphError]:
        return await gather_outcomes([work(0), work(1), work(2)])

    zero, one, two = asyncio.run(all_works())
    assert (zero, two) == (0, 2)
    assert isinstance(one, InvalidImage)


def test_an_error_that_nobody_foresaw_fails_every_work() -> None:
    async def answer(number: int) -> int:
        return number

    async def fail() -> int:
        raise ZeroDivisionError

    async def both() -> None:
        with pytest.raises(ZeroDivisionError):
            await gather_outcomes([answer(1), fail()])

    asyncio.run(both())


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    double = Doubling()

    async def answers() -> int:
        batcher = Workers(1, stuck_after_s=60).batcher(double, max_batch_size=2)
        double.allowed.clear()
        first, given_up, last = (asyncio.ensure_future(batcher.submit(n)) for n in (1, 2, 3))
        await asyncio.sleep(0.05)
        given_up.cancel()
        double.allowed.set()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await first + await last

    assert asyncio.run(answers()) == 8
    assert double.batches == [[1], [3]]


def test_a_call_that_is_cut_short_leaves_nobody_waiting() -> None:
    async def cut_short(numbers: Sequence[int]) -> list[int]:
        raise asyncio.CancelledError

    async def answer() -> int:
        batcher = one_at_a_time(cut_short, max_batch_size=2)
        return await asyncio.wait_for(batcher.submit(1), timeout=10)

    with pytest.raises(ModelUnavailable):
        asyncio.run(answer())


def test_a_call_that_is_lost_is_not_made_again_item_by_item() -> None:
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


def test_where_one_of_several_works_fails_the_others_are_given_up() -> None:
    given_up: list[str] = []

    async def sibling() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append("sibling")
            raise
        return 0

    async def failing() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("not this one")

    async def both() -> None:
        with pytest.raises(ValueError, match="not this one"):
            await gather_or_cancel([sibling(), failing()])
        await asyncio.sleep(0)

    asyncio.run(both())
    assert given_up == ["sibling"]


def test_only_a_batch_of_one_is_a_part_of_the_request_that_it_is_for() -> None:
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


def test_what_is_past_its_deadline_is_left_out_of_a_batch() -> None:
    double = Doubling()

    async def answers() -> list[int | BaseException]:
        batcher = Workers(1, stuck_after_s=60).batcher(double, max_batch_size=8)
        double.allowed.clear()
        deadlines = [Deadline(), Deadline.after(0.01), Deadline.after(60)]
        waiting = [batcher.submit(n, deadline) for n, deadline in enumerate(deadlines)]
        under_way = asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0.1)
        double.allowed.set()
        return await under_way

    first, late, last = asyncio.run(answers())
    assert (first, last) == (0, 4)
    assert isinstance(late, DeadlineExceeded)
    assert double.batches == [[0], [2]]


def test_a_call_that_nobody_waits_for_any_more_is_cancelled() -> None:
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
        await asyncio.sleep(0.01)
        second.cancel()  # still waits for the first's call to end
        await asyncio.sleep(0.01)
        assert cancelled == []
        first.cancel()
        await asyncio.sleep(0.01)
        assert cancelled == [[1]]
        third = asyncio.ensure_future(batcher.submit(3))
        await asyncio.sleep(0.01)
        third.cancel()
        await asyncio.sleep(0.01)

    asyncio.run(answers())
    assert cancelled == [[1], [3]]
