"""When an answer is of no more use to anybody."""

import math
import time
from dataclasses import dataclass

from deployments.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of this process's clock.

    Between processes travel the seconds that are left: the clocks of two machines differ, and what
    the message itself takes is little.
    """

    at: float = math.inf  # time.monotonic()

    @staticmethod
    def after(seconds: float | None) -> "Deadline":
        """So many seconds from now; None for never."""
        return Deadline() if seconds is None else Deadline(time.monotonic() + seconds)

    @property
    def left_s(self) -> float | None:
        """Seconds until then, negative after it; None if there is no deadline."""
        return None if self.at == math.inf else self.at - time.monotonic()

    @property
    def has_passed(self) -> bool:
        return time.monotonic() > self.at

    def require(self) -> None:
        """Raises DeadlineExceeded once it has passed."""
        if self.has_passed:
            raise DeadlineExceeded("the answer was not ready in time")
