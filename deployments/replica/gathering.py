"""The answers to one call of several requests: computed in threads, awaited in the event loop."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from deployments.errors import FaceGraphError

Answer = TypeVar("Answer")


class NotWanted(Exception):
    """Nobody waits for this answer any more."""


class Gathering(Generic[Answer]):
    """The places of a call's answers, one for each photo of each request.

    A request is complete once all of its places have answers, or one has a FaceGraphError, which
    is then the request's outcome. The event loop is woken once, when all requests are complete.
    """

    def __init__(self, requests: Sequence[Sequence[object] | FaceGraphError]) -> None:
        """requests: each one's photos, or the error that it has. To be made in a coroutine."""
        sizes = [0 if isinstance(one, FaceGraphError) else len(one) for one in requests]
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._answers: list[list[Answer | None]] = [[None] * size for size in sizes]
        self._missing = list(sizes)
        self._errors = {
            number: one for number, one in enumerate(requests) if isinstance(one, FaceGraphError)
        }
        self._open = sum(1 for size in sizes if size)
        self._given_up = False
        self._one_settles = Lock()
        if not self._open:
            self._done.set_result(None)

    def place(self, request: int, index: int) -> "Place[Answer]":
        return Place(self, request, index)

    async def outcomes(self) -> list[list[Answer] | FaceGraphError]:
        """Each request's answers, or its error.

        Raises an error that is no FaceGraphError. If the caller is cancelled, no place is wanted.
        """
        try:
            await self._done
        finally:
            self._given_up = True
        return [
            self._errors.get(request) or [one for one in answers if one is not None]
            for request, answers in enumerate(self._answers)
        ]

    def is_wanted(self, request: int) -> bool:
        return not self._given_up and request not in self._errors

    def settle(self, request: int, index: int, outcome: Answer | Exception) -> None:
        with self._one_settles:
            if not self.is_wanted(request):
                return
            if isinstance(outcome, FaceGraphError):
                self._errors[request] = outcome
            elif isinstance(outcome, Exception):
                self._given_up = True
                self._wake(outcome)
                return
            else:
                self._answers[request][index] = outcome
                self._missing[request] -= 1
                if self._missing[request]:
                    return
            self._open -= 1
            if not self._open:
                self._wake(None)

    def _wake(self, error: Exception | None) -> None:
        def wake() -> None:
            if self._done.done():
                return
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(wake)


@dataclass(frozen=True, slots=True)
class Place(Generic[Answer]):
    """The place of one photo's answer; to be used from any thread."""

    gathering: Gathering[Answer]
    request: int
    index: int

    @property
    def is_wanted(self) -> bool:
        """False once the request has failed, or its caller has left."""
        return self.gathering.is_wanted(self.request)

    def settle(self, outcome: Answer | Exception) -> None:
        """Give the answer or the error; ignored if it is not wanted."""
        self.gathering.settle(self.request, self.index, outcome)
