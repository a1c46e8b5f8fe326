"""Memory of a replica's process that returns to the system when it is freed."""

import ctypes
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
