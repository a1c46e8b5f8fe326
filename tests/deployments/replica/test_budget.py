"""A budget of pixels: photos wait in order, and every reserved pixel is released."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from deployments.replica.budget import Budget
from tests.support.waiting import TIMEOUT_S

TOTAL, LARGEST = 25_000, 10_000


class Photos:
    """Photos of chosen sizes that keep their reservation until `finish` or `give_up`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.decoded: list[str] = []
        self._held: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, name: str, pixels: int = LARGEST) -> None:
        self._held[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, pixels))
        await settle()

    async def _hold(self, name: str, pixels: int) -> None:
        async with self._budget.reserved(pixels):
            self.decoded.append(name)
            await self._held[name].wait()

    async def finish(self, name: str) -> None:
        self._held[name].set()
        await self._tasks[name]
        await settle()

    async def give_up(self, *names: str) -> None:
        for name in names:
            self._tasks[name].cancel()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def admit(admitted: list[str], name: str) -> bool:
    admitted.append(name)
    return True


def test_photos_over_the_budget_wait_in_order() -> None:
    async def scenario() -> None:
        photos = Photos(Budget(TOTAL))
        for name in "abcd":
            await photos.send(name)
        assert photos.decoded == ["a", "b"]
        await photos.finish("b")
        assert photos.decoded == ["a", "b", "c"]
        await photos.finish("a")
        assert photos.decoded == ["a", "b", "c", "d"]

    run(scenario())


def test_small_photos_leave_room_for_many() -> None:
    async def scenario() -> None:
        photos = Photos(Budget(TOTAL))
        names = [str(number) for number in range(25)]
        for name in names:
            await photos.send(name, 1000)
        assert photos.decoded == names
        await photos.send("too many")
        assert photos.decoded == names

    run(scenario())


def test_a_cancelled_photo_blocks_no_other() -> None:
    async def scenario() -> None:
        photos = Photos(Budget(TOTAL))
        for name in "abcde":
            await photos.send(name)
        await photos.give_up("c", "a")
        assert photos.decoded == ["a", "b", "d"]
        await photos.finish("b")
        assert photos.decoded == ["a", "b", "d", "e"]

    run(scenario())


def test_a_turn_that_comes_with_the_cancellation_is_passed_on() -> None:
    async def scenario() -> None:
        photos = Photos(Budget(TOTAL))
        for name in "abcd":
            await photos.send(name)
        photos._held["a"].set()
        await asyncio.sleep(0)  # a ends: it is c's turn, which has not run yet
        await photos.give_up("c")
        assert photos.decoded == ["a", "b", "d"]
        await photos.finish("b")
        await photos.finish("d")
        await photos.send("e")
        await photos.send("f")
        assert photos.decoded[-2:] == ["e", "f"]

    run(scenario())


def test_a_photo_that_cannot_be_decoded_gives_all_back() -> None:
    async def scenario() -> None:
        budget = Budget(TOTAL)
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                async with budget.reserved(LARGEST):
                    raise ValueError("broken")
        photos = Photos(budget)
        await photos.send("a")
        await photos.send("b")
        assert photos.decoded == ["a", "b"]

    run(scenario())


def test_one_that_waits_for_more_is_not_overtaken_until_it_gives_up() -> None:
    async def scenario() -> None:
        budget, admitted = Budget(10), []

        async def hold(name: str, amount: int) -> None:
            async with budget.reserved(amount):
                admitted.append(name)
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(hold(*one)) for one in (("a", 6), ("b", 6), ("c", 4))]
        await settle()
        assert admitted == ["a"]
        tasks[1].cancel()
        await settle()
        assert admitted == ["a", "c"]

    run(scenario())


def test_one_that_is_larger_than_the_total_takes_all_of_it() -> None:
    async def scenario() -> None:
        budget = Budget(10)
        admitted: list[str] = []
        budget.take(25, partial(admit, admitted, "all"))
        budget.take(1, partial(admit, admitted, "one"))
        assert admitted == ["all"]
        budget.release(25)
        assert admitted == ["all", "one"]
        async with budget.reserved(9):
            pass

    run(scenario())


def test_threads_that_take_and_release_never_hold_more_than_the_total() -> None:
    budget, held, most = Budget(10), [0], [0]
    lock = threading.Lock()

    def change(amount: int) -> None:
        with lock:
            held[0] += amount
            most[0] = max(most[0], held[0])

    def take_and_release(number: int) -> None:
        amount, turn = 1 + number % 4, threading.Event()

        def granted() -> bool:
            change(amount)
            turn.set()
            return True

        budget.take(amount, granted)
        assert turn.wait(TIMEOUT_S)
        change(-amount)
        budget.release(amount)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take_and_release, range(400)))
    assert (held, 0 < most[0] <= 10) == ([0], True)


def test_what_nobody_wants_any_more_goes_to_the_next() -> None:
    budget, admitted = Budget(10), list[str]()
    budget.take(10, lambda: True)
    budget.take(10, lambda: False)
    budget.take(10, partial(admit, admitted, "last"))
    budget.release(10)
    assert admitted == ["last"]
