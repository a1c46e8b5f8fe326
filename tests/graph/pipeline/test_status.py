"""Who asks at the same time shares a call; who asks later gets a new one."""

import asyncio

import pytest

from graph.pipeline.status import SingleFlight


class Questions:
    """Answers with how often it was asked, once it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = asyncio.Event()

    async def ask(self) -> int:
        self.asked += 1
        await self.free.wait()
        return self.asked


def test_calls_at_the_same_time_are_one() -> None:
    async def scenario() -> None:
        questions = Questions()
        shared = SingleFlight(questions.ask)
        waiting = [asyncio.create_task(shared.answer()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # the others still get their answer
        questions.free.set()
        assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]
        assert await shared.answer() == 2

    asyncio.run(scenario())


def test_a_failure_is_everybodys_and_the_next_call_is_a_new_one() -> None:
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
