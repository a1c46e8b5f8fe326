"""How much memory decoded photos take in one replica: so many pixels, whoever sends them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from configs.limits import ImageLimits


class Reservation:
    """Pixels set aside for one photo."""

    def __init__(self, budget: "PixelBudget", pixels: int) -> None:
        self._budget = budget
        self.pixels = pixels

    def keep(self, pixels: int) -> None:
        """What the decoded photo has; gives the rest back."""
        rest = self.pixels - pixels
        if rest > 0:
            self.pixels = pixels
            self._budget.give_back(rest)


class PixelBudget:
    """Photos that would take more than `max_pixels_in_flight` together wait in order.

    How large a photo is shows only when it is opened, in a thread; so the largest allowed is set
    aside for each, and what it does not need comes back once it is decoded. For one event loop.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._free = limits.max_pixels_in_flight
        self._most_of_one = limits.max_pixels
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[Reservation]:
        await self._take()
        reservation = Reservation(self, self._most_of_one)
        try:
            yield reservation
        finally:
            self.give_back(reservation.pixels)

    def give_back(self, pixels: int) -> None:
        self._free += pixels
        while self._waiting and self._free >= self._most_of_one:
            turn = self._waiting.popleft()
            if not turn.done():  # somebody still waits
                self._free -= self._most_of_one
                turn.set_result(None)

    async def _take(self) -> None:
        if self._free >= self._most_of_one and not self._waiting:
            self._free -= self._most_of_one
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # given up just when its turn came
                self.give_back(self._most_of_one)
            raise
