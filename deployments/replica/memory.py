"""Memory of a replica's process: freed soon, and returned to the system then."""

import ctypes
import gc
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # GNU libc's number of the option (malloc.h)


def return_blocks(*, from_bytes: int) -> None:
    """Let blocks of `from_bytes` or more return to the system as soon as they are freed.

    Each such block costs a page fault for every 4 KiB. GNU libc else raises this size, up to
    32 MiB, with each larger block that is freed, and keeps the memory in one pool per thread. Other
    C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, from_bytes)


class GarbageCollection:
    """Collects cyclic garbage each time that photos of `every_bytes` have been released.

    An error and the frames that it has passed, which hold the request's photos, are a cycle.
    Python's own collections count objects, not bytes: they may leave hundreds of large photos.
    """

    def __init__(self, every_bytes: int) -> None:
        """Make it once the replica's libraries and models are loaded: they are not looked at."""
        gc.collect()
        gc.freeze()
        self._every_bytes = every_bytes
        self._released = 0

    def released(self, count: int) -> None:
        """Count the bytes of photos that are needed no longer."""
        self._released += count
        if self._released >= self._every_bytes:
            self._released = 0
            gc.collect()
