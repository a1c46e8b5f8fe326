"""How much a client may ask for: so many requests a second, so many at a time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from configs.access import ClientLimits


class TokenBucket:
    """Fills with `per_s` tokens a second up to `size`; a request takes one."""

    def __init__(
        self, per_s: float, size: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._size, self._clock = per_s, size, clock
        self._tokens, self._filled_at = float(size), clock()

    def take(self) -> float:
        """Takes a token and returns 0; where there is none, the seconds until there will be."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_s
        self._tokens -= 1
        return 0.0


class Usage:
    """What one client has asked for, held against its limits. For one event loop."""

    def __init__(self, limits: ClientLimits) -> None:
        self.limits = limits
        self._under_way = 0
        rate = limits.requests_per_s
        self._bucket = TokenBucket(rate, limits.burst) if rate else None

    def wait_s(self) -> float:
        """0 counts a request in; else it is one too many, for that many seconds."""
        return self._bucket.take() if self._bucket else 0.0

    def is_full(self) -> bool:
        most = self.limits.max_concurrent
        return most is not None and self._under_way >= most

    @contextmanager
    def under_way(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
