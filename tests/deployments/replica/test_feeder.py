"""Batches grow with the load, and an item of a batch does not harm the others."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from deployments.errors import (
    DeadlineExceeded,
    FaceGraphError,
    FaceNotFound,
    InvalidImage,
    ModelUnavailable,
)
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Feeder, Queued
from deployments.replica.gathering import Gathering
from deployments.replica.workers import Workers
from tests.support.waiting import TIMEOUT_S, wait_until

Outcome = int | Exception


class Doubling:
    """Doubles numbers once `allowed` is set, and raises for -1; records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.allowed = threading.Event()
        self.allowed.set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.threads.add(threading.current_thread().name.rsplit("_", 1)[0])
        assert self.allowed.wait(timeout=TIMEOUT_S)
        if -1 in numbers:
            raise ValueError("minus one")
        return [2 * number for number in numbers]


class Asked:
    """Numbers given to a feeder one by one, and their outcomes."""

    def __init__(self, feeder: Feeder[int, int]) -> None:
        self._feeder = feeder
        self.outcomes: dict[int, Outcome] = {}
        self.left: set[int] = set()

    def ask(self, *numbers: int, deadline: Deadline | None = None) -> None:
        for number in numbers:
            self._feeder.submit([self._queued(number, deadline or Deadline())])

    def _queued(self, number: int, deadline: Deadline) -> Queued[int, int]:
        def done(outcome: Outcome) -> None:
            assert number not in self.outcomes
            self.outcomes[number] = outcome

        return Queued(number, deadline, done, lambda: number not in self.left)

    def of(self, *numbers: int) -> list[Outcome]:
        wait_until(lambda: self.outcomes.keys() >= set(numbers))
        return [self.outcomes[number] for number in numbers]


def asked(double: Doubling, *, threads: int, most: int = 8, **settings: int) -> Asked:
    workers = Workers(threads, stuck_after_s=60, **settings)
    return Asked(workers.feeder(double, max_batch_size=most))


def test_an_item_starts_a_call_at_once_if_a_thread_is_free() -> None:
    double = Doubling()
    numbers = asked(double, threads=2)
    numbers.ask(4)
    assert numbers.of(4) == [8]
    assert double.batches == [[4]]


def test_items_that_arrive_while_all_threads_are_busy_share_a_batch() -> None:
    double = Doubling()
    numbers = asked(double, threads=2, most=3)
    double.allowed.clear()
    for number in range(2):
        numbers.ask(number)
        wait_until(lambda: len(double.batches) == number + 1)  # noqa: B023
    numbers.ask(*range(2, 7))
    assert double.batches == [[0], [1]]  # as many calls as threads, no more
    double.allowed.set()
    assert numbers.of(*range(7)) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(double.batches[2:]) == [[2, 3, 4], [5, 6]]


def test_a_batch_holds_what_has_come_until_a_thread_takes_it() -> None:
    double = Doubling()
    workers = Workers(1, stuck_after_s=60)
    free = threading.Event()

    def occupy() -> None:
        free.wait(TIMEOUT_S)

    workers.submit(occupy)
    numbers = Asked(workers.feeder(double, max_batch_size=8))
    numbers.ask(1, 2, 3)
    free.set()
    assert numbers.of(1, 2, 3) == [2, 4, 6]
    assert double.batches == [[1, 2, 3]]


def test_feeders_are_threads_that_the_workers_never_share() -> None:
    double = Doubling()
    numbers = asked(double, threads=2, feeders=1)
    numbers.ask(1, 2)
    numbers.of(1, 2)
    assert double.threads == {"facegraph-feeder"}


def test_the_start_of_a_batch_reports_its_items_queueing_times() -> None:
    double = Doubling()
    reported: list[Sequence[float]] = []
    feeder = Workers(1, stuck_after_s=60).feeder(
        double, max_batch_size=8, on_batch_start=reported.append
    )
    numbers = Asked(feeder)
    double.allowed.clear()
    numbers.ask(1)
    wait_until(lambda: len(reported) == 1)
    numbers.ask(2, 3)
    threading.Event().wait(0.2)
    double.allowed.set()
    numbers.of(1, 2, 3)
    _, later = reported
    assert len(later) == 2
    assert min(later) >= 0.19


def test_an_item_that_fails_does_not_fail_its_batch() -> None:
    double = Doubling()
    numbers = asked(double, threads=1)
    double.allowed.clear()
    numbers.ask(0)
    wait_until(lambda: double.batches == [[0]])
    numbers.ask(5, -1, 6)
    double.allowed.set()
    zero, five, failed, six = numbers.of(0, 5, -1, 6)
    assert (zero, five, six) == (0, 10, 12)
    assert isinstance(failed, ValueError)
    assert double.batches == [[0], [5, -1, 6], [5], [-1], [6]]


def test_an_error_of_all_items_is_not_met_item_by_item() -> None:
    calls: list[list[int]] = []

    def lost(numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        raise ModelUnavailable("no weights")

    numbers = Asked(Workers(1, stuck_after_s=60).feeder(lost, max_batch_size=8))
    numbers.ask(1)
    numbers.of(1)
    numbers._feeder.submit([numbers._queued(number, Deadline()) for number in (2, 3)])
    second, third = numbers.of(2, 3)
    assert isinstance(second, ModelUnavailable)
    assert isinstance(third, ModelUnavailable)
    assert second is not third
    assert calls == [[1], [2, 3]]


def test_items_that_are_late_or_not_wanted_are_left_out_of_a_batch() -> None:
    double = Doubling()
    numbers = asked(double, threads=1)
    double.allowed.clear()
    numbers.ask(0)
    wait_until(lambda: double.batches == [[0]])
    numbers.ask(1, deadline=Deadline.after(0.0))
    numbers.ask(2, 3)
    numbers.left.add(2)
    double.allowed.set()
    _, late, _, last = numbers.of(0, 1, 2, 3)
    assert isinstance(late, DeadlineExceeded)
    assert last == 6
    assert double.batches == [[0], [3]]


def test_a_call_of_several_requests_ends_with_its_last_photo() -> None:
    async def outcomes() -> list[list[int] | FaceGraphError]:
        gathering = Gathering[int]([[0, 0], [], [0, 0], [0], FaceNotFound("before")])
        thread = threading.Thread(target=settle, args=(gathering,))
        thread.start()
        return await asyncio.wait_for(gathering.outcomes(), TIMEOUT_S)

    def settle(gathering: Gathering[int]) -> None:
        gathering.place(2, 1).settle(InvalidImage("broken"))
        assert not gathering.place(2, 0).is_wanted
        gathering.place(2, 0).settle(7)  # too late
        for request, index in ((0, 1), (3, 0), (0, 0)):
            gathering.place(request, index).settle(10 * request + index)

    first, empty, failed, last, before = asyncio.run(outcomes())
    assert isinstance(before, FaceNotFound)
    assert (first, empty, last) == ([0, 1], [], [30])
    assert isinstance(failed, InvalidImage)


def test_an_unexpected_error_fails_the_whole_call() -> None:
    async def outcomes() -> None:
        gathering = Gathering[int]([[0], [0]])
        gathering.place(0, 0).settle(ZeroDivisionError())
        assert not gathering.place(1, 0).is_wanted
        await gathering.outcomes()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(outcomes())


def test_nobody_wants_the_answers_of_a_call_that_is_cancelled() -> None:
    async def cancelled() -> bool:
        gathering = Gathering[int]([[0]])
        waiting = asyncio.ensure_future(gathering.outcomes())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gathering.place(0, 0).settle(1)
        return gathering.place(0, 0).is_wanted

    assert not asyncio.run(cancelled())
