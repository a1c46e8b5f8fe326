"""How much memory the bodies of requests under way take in one ingress replica."""

from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import Overloaded


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
