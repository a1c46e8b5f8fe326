"""Waiting for a state of a running graph."""

import asyncio
import time
from collections.abc import Callable, Mapping

import httpx

# Long enough for a slow and busy machine.
TIMEOUT_S = 300.0


def wait_until(
    reached: Callable[[], bool], *, message: Callable[[], str] = lambda: "not reached in time"
) -> None:
    """Wait until the state is reached. Raise AssertionError with the text of `message` after
    TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < deadline, message()
        time.sleep(0.05)


def answered(
    client: httpx.Client,
    path: str,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send GET requests until one is answered with this status. Return that answer."""
    answers: list[httpx.Response] = []

    def reached() -> bool:
        answers.append(client.get(path, headers=headers))
        return answers[-1].status_code == status

    wait_until(reached, message=lambda: answers[-1].text)
    return answers[-1]


async def wait_until_async(reached: Callable[[], bool]) -> None:
    """As `wait_until`, without blocking the event loop."""
    await asyncio.to_thread(wait_until, reached)


async def let_tasks_run() -> None:
    """Let the event loop's tasks run until each waits for a timer, a thread or an event."""
    for _ in range(100):
        await asyncio.sleep(0)
