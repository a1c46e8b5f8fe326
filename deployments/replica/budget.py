"""A limit on what a replica holds at a time, over all clients, to bound its memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Reservation:
    """The part of a budget that one request has reserved."""

    def __init__(self, budget: "Budget", amount: int) -> None:
        self._budget = budget
        self.amount = amount

    def shrink_to(self, amount: int) -> None:
        """Keep this amount reserved, and release the rest."""
        rest = self.amount - amount
        if rest > 0:
            self.amount = amount
            self._budget.release(rest)


class Budget:
    """Admits requests of `total` pixels or bytes together; further requests wait in order.

    For use in one event loop.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserved(self, amount: int) -> AsyncIterator[Reservation]:
        """Reserve `amount` for the block; of an amount over the total, the total."""
        reservation = Reservation(self, min(amount, self._total))
        await self._take(reservation.amount)
        try:
            yield reservation
        finally:
            self.release(reservation.amount)

    def release(self, amount: int) -> None:
        self._free += amount
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():  # it was not cancelled
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()

    async def _take(self, amount: int) -> None:
        if self._free >= amount and not self._waiting:
            self._free -= amount
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # It may be cancelled just as its turn came; else the next may go ahead of it.
            self.release(0 if turn.cancelled() else amount)
            raise
