"""The clients' retries, without a graph."""

import asyncio

import pytest

from deployments.errors import FaceNotFound, ModelUnavailable, Overloaded
from graph.client.retries import Retries, TryAgain

LOST = ModelUnavailable("lost")


class Attempts:
    """Raises one error after the other, then answers 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7

    async def later(self) -> int:
        return self()


def test_a_lost_call_is_sent_again() -> None:
    attempts = Attempts(TryAgain(LOST, 0), TryAgain(LOST, 0))
    assert Retries(2).call(attempts) == 7
    assert attempts.count == 3
    again = Attempts(TryAgain(LOST, 0))
    assert asyncio.run(Retries(1).call_async(again.later)) == 7


def test_the_last_error_is_raised_when_no_try_is_left() -> None:
    attempts = Attempts(TryAgain(LOST, 0), TryAgain(Overloaded("full"), 0), TryAgain(LOST, 0))
    with pytest.raises(Overloaded, match="full"):
        Retries(1).call(attempts)
    assert attempts.count == 2


def test_other_errors_end_the_call() -> None:
    attempts = Attempts(FaceNotFound("image: no face found"))
    with pytest.raises(FaceNotFound):
        Retries(5).call(attempts)
    assert attempts.count == 1


def test_waits_are_those_that_the_server_asked_for_or_double(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    Retries(4).call(Attempts(*[TryAgain(LOST)] * 3, TryAgain(LOST, 9)))
    assert waits == pytest.approx([0.2, 0.4, 0.8, 9])
