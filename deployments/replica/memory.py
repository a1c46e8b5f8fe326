"""Memory of a replica's process that returns to the system when it is freed."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # GNU libc's number of the option (malloc.h)
# In bytes. Large photos are over it, what the network takes and gives for small ones is under it:
# a block over it costs a page fault for every 4 KiB.
_THRESHOLD = 8 * 1024 * 1024


def return_large_blocks() -> None:
    """Let blocks of 8 MiB or more return to the system as soon as they are freed.

    GNU libc else raises this size, up to 32 MiB, with each larger block that is freed, and keeps
    the photos' memory in one pool per thread. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
