"""A limit on what a replica holds at a time, over all clients, to bound its memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Lock

# Callback: told that an amount is reserved; false if nobody wants it any more.
Granted = Callable[[], bool]


class Budget:
    """Admits requests of `total` pixels or bytes together; further requests wait in order."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, Granted]] = deque()
        self._lock = Lock()

    @asynccontextmanager
    async def reserved(self, amount: int) -> AsyncIterator[None]:
        """Reserve `amount` for the block; of an amount over the total, the total.

        For use in one event loop, which also does the releasing.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def granted() -> bool:
            if not turn.done():  # it was not cancelled
                turn.set_result(None)
                return True
            return False

        amount = min(amount, self._total)
        self.take(amount, granted)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(granted)
            # It may be cancelled just as its turn came.
            self.release(0 if turn.cancelled() else amount)
            raise
        try:
            yield
        finally:
            self.release(amount)

    def take(self, amount: int, granted: Granted) -> None:
        """Reserve `amount`, or the total if it is more, from any thread.

        granted: called in this thread if so much is free, else in the thread that releases it.
        """
        with self._lock:
            self._waiting.append((min(amount, self._total), granted))
        self.release(0)

    def release(self, amount: int) -> None:
        """Release what was reserved, at most the total, from any thread."""
        with self._lock:
            self._free += min(amount, self._total)
        while turn := self._next_turn():
            wanted, granted = turn
            if not granted():
                with self._lock:
                    self._free += wanted

    def _leave(self, granted: Granted) -> None:
        with self._lock:
            self._waiting = deque(one for one in self._waiting if one[1] is not granted)

    def _next_turn(self) -> tuple[int, Granted] | None:
        with self._lock:
            if not self._waiting or self._waiting[0][0] > self._free:
                return None
            turn = self._waiting.popleft()
            self._free -= turn[0]
            return turn
