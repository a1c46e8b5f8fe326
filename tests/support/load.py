"""Closed-loop load: each client sends its next request once the last one is answered."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Outcome:
    """The answer to one request.

    status: HTTP's, or 0 if the connection broke. right: None if the answer was not compared with
    the expected one. failure: the beginning of the answer, or the exception, if the status is not
    the expected one.
    """

    status: int
    right: bool | None = None
    retry_after: str | None = None
    failure: str = ""


@dataclass(frozen=True)
class Sent:
    """A request: when it was sent and answered, in s of `time.perf_counter`.

    turn: its number among its client's requests, from 0.
    """

    turn: int
    began: float
    ended: float
    outcome: Outcome

    @property
    def latency_s(self) -> float:
        return self.ended - self.began


# Sends one request; called with the client's number and the number of the client's request.
Send = Callable[[int, int], Awaitable[Outcome]]


class Load:
    """Concurrent clients. `sent` grows while they run."""

    def __init__(self, send: Send) -> None:
        self.sent: list[Sent] = []
        self._send = send
        self._ended = False

    async def run(
        self,
        clients: int,
        *,
        seconds: float = math.inf,
        requests: float = math.inf,
        at_least: int = 0,
    ) -> None:
        """Run until `end` is called, for `seconds`, or until `requests` have been sent in all.

        at_least: each client sends this many requests, however long they take.
        """
        until, numbers = time.perf_counter() + seconds, count()

        async def client(number: int) -> None:
            for turn in count():
                late = turn >= at_least and time.perf_counter() >= until
                if self._ended or late or next(numbers) >= requests:
                    return
                began = time.perf_counter()
                outcome = await self._send(number, turn)
                self.sent.append(Sent(turn, began, time.perf_counter(), outcome))

        await asyncio.gather(*map(client, range(clients)))

    def end(self) -> None:
        self._ended = True

    @contextmanager
    def in_background(self, clients: int) -> Iterator[None]:
        """Run in a thread until the block ends; then raise the exception of a client, if any.

        `asyncio.to_thread` finds a thread for each client.
        """

        async def run() -> None:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(clients))
            await self.run(clients)

        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(lambda: asyncio.run(run()))
            try:
                yield
            finally:
                self.end()
            running.result()
