"""Retries of a client's call. A second one does no harm: calls change nothing in the graph, and
those about galleries have their ids from the start."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from tenacity import AsyncRetrying, RetryCallState, Retrying
from tenacity.retry import retry_if_exception_type
from tenacity.stop import stop_after_attempt

Answer = TypeVar("Answer")
_FIRST_WAIT_S = 0.2


class TryAgain(Exception):
    """Raised by a failed try to ask for another one.

    error: the caller gets it if no try is left. wait_s: seconds that the server asked for.
    """

    def __init__(self, error: Exception, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


class Retries:
    """Retry policy: up to `retries` tries after the first one.

    The wait before each is the one that the server asked for, or else 0.2 s, doubled from try to
    try.
    """

    def __init__(self, retries: int) -> None:
        self._policy: dict[str, Any] = {
            "retry": retry_if_exception_type(TryAgain),
            "stop": stop_after_attempt(1 + retries),
            "wait": _wait_s,
            "retry_error_callback": _raise_last,
        }

    def call(self, attempt: Callable[[], Answer]) -> Answer:
        """Call `attempt` until it does not raise TryAgain; returns its answer."""
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
