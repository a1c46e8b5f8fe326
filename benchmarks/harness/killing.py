"""Processes below a command that are killed at random, and one that is kept down for a while."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from benchmarks.supervision import Command
from tests.support.processes import descendant

SECONDS_BETWEEN = (4.0, 12.0)
LONGEST_AWAY_S = 120.0
_POLL_S = 0.1
CLUSTER = "raylet"  # without it the command starts another cluster


@dataclass(frozen=True)
class Away:
    """The time in which a process was kept down, in s of `time.time`. back: the first answer after
    it; settled: the next kill."""

    began: float
    ended: float
    back: float
    settled: float


class Killer(threading.Thread):
    """Kills a process with SIGKILL every few seconds, each of the names as often as the others, in
    a random order, until it is ended."""

    def __init__(
        self,
        served: Command,
        titles: Mapping[str, str],
        is_ready: Callable[[], bool],
        *,
        seconds: float,
        seed: int,
    ) -> None:
        """titles: by name, the word in the process's title. is_ready: tells whether all is well.
        seconds: after which nothing is killed."""
        super().__init__()
        self._served = served
        self._titles = titles
        self._is_ready = is_ready
        self._seconds = seconds
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._first: tuple[str, float] | None = None
        self.kills: Counter[str] = Counter()
        self.away: Away | None = None

    def keep_down_first(self, name: str, seconds: float) -> None:
        """Before the kills, kill this process again and again for so long."""
        self._first = name, seconds

    def run(self) -> None:
        until = time.monotonic() + self._seconds
        if self._first and not self._ended.wait(self._pause_s()):
            self._keep_down(*self._first)
        for name in self._names():
            if self._ended.wait(self._pause_s()) or time.monotonic() > until:
                return
            restarts = self._served.restarts()
            # It may not be there: an earlier kill's successor is still to start.
            self._wait(partial(self._is_killed, name))
            if name == CLUSTER:
                self._wait(partial(self._is_another, restarts))

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _names(self) -> Iterator[str]:
        while True:
            yield from self._random.sample(list(self._titles), len(self._titles))

    def _pause_s(self) -> float:
        return self._random.uniform(*SECONDS_BETWEEN)

    def _is_another(self, restarts: int) -> bool:
        """Tell whether a cluster is ready that was started after this many restarts."""
        return self._served.restarts() > restarts and self._served.is_whole()

    def _is_killed(self, name: str) -> bool:
        if not self._killed(name):
            return False
        self.kills[name] += 1
        print(f"killed: {name}", flush=True)
        return True

    def _killed(self, name: str) -> bool:
        with suppress(LookupError, ValueError, OSError):
            os.kill(descendant(self._served.pid, self._titles[name]), signal.SIGKILL)
            return True
        return False

    def _keep_down(self, name: str, seconds: float) -> None:
        began = time.time()
        print(f"away: {name}", flush=True)
        while time.time() < began + seconds:
            self._killed(name)
            self._ended.wait(_POLL_S)
        ended = time.time()
        self._wait(self._is_ready)
        back = time.time()
        self._ended.wait(SECONDS_BETWEEN[0])
        self.away = Away(began, ended, back, time.time())

    def _wait(self, reached: Callable[[], bool]) -> None:
        until = time.monotonic() + LONGEST_AWAY_S
        while not reached() and time.monotonic() < until and not self._ended.wait(_POLL_S):
            pass
