"""Waiting for what a running graph comes to sooner or later."""

import time
from collections.abc import Callable, Mapping

import httpx


def wait_until(
    reached: Callable[[], bool],
    *,
    timeout_s: float = 60,
    last: Callable[[], str] = lambda: "not reached in time",
) -> None:
    """`last`: what a failure tells of how it stood in the end."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, last()
        time.sleep(0.05)


def answered(
    client: httpx.Client,
    path: str,
    status: int,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 20,
) -> httpx.Response:
    """The first answer with that status."""
    answers: list[httpx.Response] = []

    def reached() -> bool:
        answers.append(client.get(path, headers=headers))
        return answers[-1].status_code == status

    wait_until(reached, timeout_s=timeout_s, last=lambda: answers[-1].text)
    return answers[-1]
