"""Concurrent callers share a call, and a later caller starts a new one."""

import asyncio

import pytest

from graph.pipeline.status import SingleFlight


class CountedCall:
    """A call that returns how often it was made, once `free` is set."""

    def __init__(self) -> None:
        self.made = 0
        self.free = asyncio.Event()

    async def make(self) -> int:
        self.made += 1
        await self.free.wait()
        return self.made


def test_concurrent_callers_share_one_call() -> None:
    async def scenario() -> None:
        call = CountedCall()
        shared = SingleFlight(call.make)
        waiting = [asyncio.create_task(shared.answer()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # the others still get their answer
        call.free.set()
        assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]
        assert await shared.answer() == 2

    asyncio.run(scenario())


def test_a_failure_is_shared_and_the_next_call_is_a_new_one() -> None:
    async def scenario() -> None:
        answers = iter([1])

        async def call() -> int:
            await asyncio.sleep(0)
            if not next(answers, 0):
                raise ValueError("nothing left")
            return 1

        shared = SingleFlight(call)
        assert await shared.answer() == 1
        results = await asyncio.gather(shared.answer(), shared.answer(), return_exceptions=True)
        assert [str(result) for result in results] == ["nothing left"] * 2
        with pytest.raises(ValueError, match="nothing left"):
            await shared.answer()

    asyncio.run(scenario())
