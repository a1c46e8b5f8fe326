"""How many requests an ingress replica takes on, by number and by the time that they would take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from configs.limits import RequestLimits
from deployments.errors import Overloaded

# Of the time in which there was work; what was measured so long ago counts half.
_HALF_LIFE_S = 10.0
# Fewer answers than these tell too little of what the graph can do.
_ENOUGH_ANSWERS = 10.0
# As many are worked on whatever the rate: it is low for some seconds after a stage was away.
_ALWAYS = 16


class Admission:
    """The rate is measured only while requests are being worked on, so that a quiet hour does not
    pass for a slow graph. Measured at few requests it is too low for many, never too high."""

    def __init__(self, limits: RequestLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.arrived = self.finished = 0
        self._admitted = 0
        self._worked_on = 0
        self._answers = 0.0
        self._busy_s = 0.0
        self._last = clock()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Around a whole request, its body's arrival included. Raises Overloaded at
        `max_concurrent` of them."""
        self.arrived += 1
        if self._admitted >= self._limits.max_concurrent:
            raise Overloaded(f"{self._admitted} requests are under way here; try again later")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1
            self.finished += 1

    @contextmanager
    def worked_on(self) -> Iterator[None]:
        """Around the stages' work for a request. Raises Overloaded if what is under way would take
        longer than `max_queue_wait_s`, by the rate of the last answers."""
        self._pass_time()
        wait_s = self._expected_wait_s()
        if wait_s > self._limits.max_queue_wait_s:
            raise Overloaded(f"requests would wait here for {wait_s:.0f} s; try again later")
        self._worked_on += 1
        try:
            yield
        finally:
            self._pass_time()
            self._worked_on -= 1
            self._answers += 1

    def _expected_wait_s(self) -> float:
        if self._worked_on < _ALWAYS or self._answers < _ENOUGH_ANSWERS:
            return 0.0
        return self._worked_on * self._busy_s / self._answers

    def _pass_time(self) -> None:
        now = self._clock()
        passed_s, self._last = now - self._last, now
        if self._worked_on:
            kept = 0.5 ** (passed_s / _HALF_LIFE_S)
            self._answers *= kept
            self._busy_s = self._busy_s * kept + passed_s


class Share:
    """What one request's body has taken so far."""

    def __init__(self, memory: "BodyMemory") -> None:
        self._memory = memory
        self.taken = 0

    def take(self, count: int) -> None:
        """Raises Overloaded where all bodies together would be larger than allowed."""
        self._memory.take(count)
        self.taken += count


class BodyMemory:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """For as long as the request is under way: its images are parts of its body."""
        share = Share(self)
        try:
            yield share
        finally:
            self._taken -= share.taken

    def take(self, count: int) -> None:
        if self._taken + count > self._max_bytes:
            raise Overloaded(
                f"the requests under way here have more than {self._max_bytes} bytes; try again"
                " later",
                max_bytes_in_flight=self._max_bytes,
            )
        self._taken += count
