"""Deadlines of requests, and their transport between processes."""

import math
import time
from dataclasses import dataclass

from deployments.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time of this process's monotonic clock.

    A message between processes carries the seconds that are left instead of the point in time: two
    machines' clocks differ, and the message itself takes little time.
    """

    at: float = math.inf  # time.monotonic()

    @staticmethod
    def after(seconds: float | None) -> "Deadline":
        """The deadline so many seconds from now; None for no deadline."""
        return Deadline() if seconds is None else Deadline(time.monotonic() + seconds)

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline, negative after it; None without a deadline."""
        return None if self.at == math.inf else self.at - time.monotonic()

    @property
    def has_passed(self) -> bool:
        return time.monotonic() > self.at

    def require(self) -> None:
        """Raises DeadlineExceeded if the deadline has passed."""
        if self.has_passed:
            raise DeadlineExceeded("the answer was not ready in time")
