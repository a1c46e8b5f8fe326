"""A limit on the pixels that a replica holds decoded, over all clients, to bound its memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from configs.limits import ImageLimits


class Reservation:
    """Pixels reserved for one photo."""

    def __init__(self, budget: "PixelBudget", pixels: int) -> None:
        self._budget = budget
        self.pixels = pixels

    def shrink_to(self, pixels: int) -> None:
        """Keep the decoded photo's number of pixels reserved, and release the rest."""
        rest = self.pixels - pixels
        if rest > 0:
            self.pixels = pixels
            self._budget.release(rest)


class PixelBudget:
    """Admits photos of `max_pixels_in_flight` pixels in all; further photos wait in order.

    A photo's size is unknown until a thread has opened it. So `max_pixels` are reserved for each
    photo, and the rest is released once it is decoded. For use in one event loop.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._free = limits.max_pixels_in_flight
        self._max_pixels = limits.max_pixels
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[Reservation]:
        await self._take()
        reservation = Reservation(self, self._max_pixels)
        try:
            yield reservation
        finally:
            self.release(reservation.pixels)

    def release(self, pixels: int) -> None:
        self._free += pixels
        while self._waiting and self._free >= self._max_pixels:
            turn = self._waiting.popleft()
            if not turn.done():  # it was not cancelled
                self._free -= self._max_pixels
                turn.set_result(None)

    async def _take(self) -> None:
        if self._free >= self._max_pixels and not self._waiting:
            self._free -= self._max_pixels
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # cancelled just as its turn came
                self.release(self._max_pixels)
            raise
