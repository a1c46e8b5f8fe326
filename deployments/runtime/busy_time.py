"""How much a replica has computed: what policies that size its stage are told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class BusyTime:
    """Worker-seconds since the replica started; a thousandth of a millisecond for each count."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._busy_s = 0.0
        self._lock = Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around what one of the workers computes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self._busy_s += took

    def stats(self) -> dict[str, float]:
        """What a replica's `record_autoscaling_stats` answers; `busy_s` only grows."""
        return {"busy_s": self._busy_s, "workers": self._workers}
