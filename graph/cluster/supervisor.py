"""A process that starts a graph's process again when its Ray cluster has ended. It imports no Ray,
which ends the process that it is in when it loses its cluster."""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from types import FrameType

from pydantic import Field

from configs.base import Config
from graph.cluster.remains import remove_remains
from graph.cluster.signals import signals_handled

# Exit codes of a graph's process: one that is not started again, and one whose cluster has ended.
FAILED, LOST = 2, 3
_REFUSED = (1, FAILED)
_POLL_S = 0.1


class RestartPolicy(Config):
    """How often, and how soon, a graph that has ended is started again."""

    max_restarts: int = Field(
        default=5, ge=0, description="Restarts in a row, after which the command gives up."
    )
    delay_s: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds before the second restart in a row, doubled for each further one, up"
        " to a minute. The first comes at once.",
    )
    longest_delay_s: float = Field(
        default=60.0, ge=0, allow_inf_nan=False, description="Seconds that no delay exceeds."
    )
    healthy_after_s: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds of a run after which the next restart is the first in a row.",
    )

    def delay_of(self, restart: int) -> float:
        """Seconds before a restart, the first of which has number 1 and comes at once."""
        if restart == 1:
            return 0.0
        doublings = min(restart - 2, 60)  # a float has no more
        return min(self.delay_s * 2.0**doublings, self.longest_delay_s)


class Supervisor:
    """Runs a graph's process, and starts another one when it has ended without being stopped.

    run_graph: a function of a module, for a process of its own, with picklable arguments. report:
    called with a sentence for each restart.
    """

    def __init__(
        self,
        run_graph: Callable[..., None],
        *arguments: object,
        policy: RestartPolicy,
        report: Callable[[str], None],
    ) -> None:
        self._target = partial(_in_own_session, run_graph, *arguments)
        self._policy = policy
        self._report = report
        self._process: SpawnProcess | None = None
        self._received = 0

    def run(self) -> int:
        """Run until the graph has been stopped, is refused at the first start, or has ended more
        often than the policy allows. Returns the exit code.

        SIGINT and SIGTERM stop the graph: the exit code is then 0 if it was ready, or else 130 or
        143. What an ended graph left is removed before the next one starts.
        """
        with signals_handled(self._stop):
            restarts = 0
            while self._pause(restarts):
                began = time.monotonic()
                code = self._run_once()
                if code == 0 or (code in _REFUSED and not restarts and not self._received):
                    return code
                if code != LOST and not self._received:
                    self._report(f"The graph's process has ended with code {code}")
                is_healthy = time.monotonic() - began >= self._policy.healthy_after_s
                restarts = 1 if is_healthy else restarts + 1
                if restarts > self._policy.max_restarts and not self._received:
                    return FAILED
            return 128 + self._received

    def _run_once(self) -> int:
        """Run one graph, and remove what it left. Returns its exit code."""
        self._process = get_context("spawn").Process(target=self._target)
        self._process.start()
        if self._received:  # meanwhile
            self._process.terminate()
        self._process.join()
        code = self._process.exitcode or 0
        self._process = None
        remove_remains()
        return code

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._received = number
        if self._process and self._process.pid:
            self._process.terminate()

    def _pause(self, restarts: int) -> bool:
        """Wait before a restart; before the first start, do nothing. False if a signal has come."""
        if restarts and not self._received:
            delay_s = self._policy.delay_of(restarts)
            when = f" in {delay_s:g} s" if delay_s else ""
            number = f"restart {restarts} of at most {self._policy.max_restarts} in a row"
            self._report(f"Starting the graph again{when}: {number}")
            until = time.monotonic() + delay_s
            while not self._received and time.monotonic() < until:
                time.sleep(_POLL_S)
        return not self._received


def _in_own_session(run_graph: Callable[..., None], *arguments: object) -> None:
    """Call `run_graph` where no signal to the supervisor's process group reaches Ray's processes;
    SIGTERM comes when the supervisor has died."""
    os.setsid()
    threading.Thread(target=_stop_after_supervisor, daemon=True).start()
    run_graph(*arguments)


def _stop_after_supervisor() -> None:
    if supervisor := parent_process():
        supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
