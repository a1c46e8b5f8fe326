"""Sends a client's call again where another try may be answered. Calls change nothing in the graph,
so that a second one does no harm."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from tenacity import AsyncRetrying, RetryCallState, Retrying
from tenacity.retry import retry_if_exception_type
from tenacity.stop import stop_after_attempt

Answer = TypeVar("Answer")
_FIRST_WAIT_S = 0.2


class TryAgain(Exception):
    """A failed try that another one may follow.

    error: raised to the caller if no try is left. wait_s: seconds that the server asked for.
    """

    def __init__(self, error: Exception, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


class Retries:
    """Tries after the first one, each after the wait that the server asked for, or else after
    0.2 s, doubled from try to try."""

    def __init__(self, retries: int) -> None:
        self._policy: dict[str, Any] = {
            "retry": retry_if_exception_type(TryAgain),
            "stop": stop_after_attempt(1 + retries),
            "wait": _wait_s,
            "retry_error_callback": _raise_last,
        }

    def call(self, attempt: Callable[[], Answer]) -> Answer:
        """The answer of the first attempt that does not raise TryAgain."""
        return Retrying(**self._policy)(attempt)

    async def call_async(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        answer: Answer = await AsyncRetrying(**self._policy)(attempt)
        return answer


def _wait_s(state: RetryCallState) -> float:
    asked = _failure(state).wait_s
    backoff: float = _FIRST_WAIT_S * 2 ** (state.attempt_number - 1)
    return backoff if asked is None else asked


def _raise_last(state: RetryCallState) -> NoReturn:
    failure = _failure(state)
    raise failure.error from failure.__cause__


def _failure(state: RetryCallState) -> TryAgain:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, TryAgain)
    return failure
