"""Admission control of an ingress replica: it sheds load (raises Overloaded) over a limit on the
number of requests, on their expected wait, or on the bytes of their bodies."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from configs.limits import RequestLimits
from deployments.errors import Overloaded
from deployments.replica.memory import GarbageCollection

# Half-life, in seconds of busy time, of the exponentially weighted service rate.
_HALF_LIFE_S = 10.0
# Sum of weighted answers below which the rate is too uncertain to shed load by it.
_MIN_ANSWERS = 10.0
# Requests processed at the same time whatever the rate, which is low for some seconds after a
# stage was unavailable. The rate of fewer requests says nothing of the graph's capacity.
_ALWAYS_PROCESSED = 16
# Bodies that no request needs are collected this many times before they could fill the memory.
_COLLECTIONS = 8


class AdmissionControl:
    """Limit on one ingress replica's requests, by their number and their expected wait.

    The expected wait is the number of requests in processing divided by the service rate. The rate
    is answers per second of busy time, both as exponentially weighted sums. Time is busy while at
    least `_ALWAYS_PROCESSED` requests are in processing: neither an idle hour nor a client that
    sends one request after the other looks like a slow graph. For one event loop.

    arrived, finished: requests since the start, for autoscaling; refused ones count as arrived.
    under_way: requests that are admitted now.
    """

    def __init__(self, limits: RequestLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.arrived = self.finished = 0
        self.under_way = 0
        self._processing = 0
        self._answers = 0.0
        self._busy_s = 0.0
        self._updated_at = clock()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a whole request as admitted, from before its body arrives. Raises Overloaded if
        `max_concurrent` are admitted already."""
        self.arrived += 1
        if self.under_way >= self._limits.max_concurrent:
            raise Overloaded(f"{self.under_way} requests are under way here; try again later")
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self.finished += 1

    @contextmanager
    def processing(self) -> Iterator[None]:
        """Count a request as in processing by the stages. Raises Overloaded if its expected wait
        is longer than `max_queue_wait_s`."""
        self._decay()
        wait_s = self._expected_wait_s()
        if wait_s > self._limits.max_queue_wait_s:
            raise Overloaded(f"requests would wait here for {wait_s:.0f} s; try again later")
        self._processing += 1
        try:
            yield
        finally:
            self._decay()
            self._answers += self._is_busy()
            self._processing -= 1

    def _expected_wait_s(self) -> float:
        if not self._is_busy() or self._answers < _MIN_ANSWERS:
            return 0.0
        return self._processing * self._busy_s / self._answers

    def _is_busy(self) -> bool:
        return self._processing >= _ALWAYS_PROCESSED

    def _decay(self) -> None:
        """Bring the weighted sums up to now, if the time since the last update was busy."""
        now = self._clock()
        passed_s, self._updated_at = now - self._updated_at, now
        if self._is_busy():
            kept = 0.5 ** (passed_s / _HALF_LIFE_S)
            self._answers *= kept
            self._busy_s = self._busy_s * kept + passed_s


class BodyMemory:
    """Limit on the bytes that the bodies of all requests of one ingress replica take together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken = 0
        self._garbage = GarbageCollection(max_bytes // _COLLECTIONS)

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """A request's share until the request ends: its images are parts of its body."""
        share = Share(self)
        try:
            yield share
        finally:
            self._taken -= share.taken
            self._garbage.released(share.taken)

    def take(self, count: int) -> None:
        if self._taken + count > self._max_bytes:
            raise Overloaded(
                f"the requests under way here have more than {self._max_bytes} bytes; try again"
                " later",
                max_bytes_in_flight=self._max_bytes,
            )
        self._taken += count


class Share:
    """One request's share of a BodyMemory; `taken` is the bytes of its body so far."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.taken = 0

    def take(self, count: int) -> None:
        """Take bytes; raises Overloaded if all bodies together would pass the limit."""
        self._memory.take(count)
        self.taken += count
