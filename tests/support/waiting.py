"""Waiting for a state of a running graph."""

import time
from collections.abc import Callable, Mapping

import httpx


def wait_until(
    reached: Callable[[], bool],
    *,
    timeout_s: float = 60,
    message: Callable[[], str] = lambda: "not reached in time",
) -> None:
    """Wait until the state is reached. Raise AssertionError with the text of `message` after
    `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, message()
        time.sleep(0.05)


def answered(
    client: httpx.Client,
    path: str,
    status: int,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 20,
) -> httpx.Response:
    """Send GET requests until one is answered with this status. Return that answer."""
    answers: list[httpx.Response] = []

    def reached() -> bool:
        answers.append(client.get(path, headers=headers))
        return answers[-1].status_code == status

    wait_until(reached, timeout_s=timeout_s, message=lambda: answers[-1].text)
    return answers[-1]
