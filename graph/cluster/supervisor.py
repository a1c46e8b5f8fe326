"""A process that starts a graph's process again when its Ray cluster has ended. It imports no Ray,
which ends the process that it is in when it loses its cluster."""

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from pydantic import Field

from configs.base import Config
from graph.cluster.front import Front
from graph.cluster.remains import remove_remains

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

    run_graph: a function of a module, for a process of its own, with picklable arguments. Its first
    one is a function that it calls when the graph is ready. report: called with a sentence for each
    restart. stop_timeout_s: seconds for the graph to end after a signal, before it is killed.
    """

    def __init__(
        self,
        run_graph: Callable[..., None],
        *arguments: object,
        policy: RestartPolicy,
        report: Callable[[str], None],
        stop_timeout_s: float = 60.0,
    ) -> None:
        self._target = partial(_in_own_session, run_graph, *arguments)
        self._policy = policy
        self._report = report
        self._stop_timeout_s = stop_timeout_s
        self._process: SpawnProcess | None = None
        self._received = 0  # the number of a signal
        self._killed_at = math.inf  # of `time.monotonic`
        self._stopped = asyncio.Event()
        # Set from the first time on that the graph is ready.
        self.was_ready = asyncio.Event()

    async def run(self) -> int:
        """Run until the graph has been stopped, is refused at the first start, or has ended more
        often than the policy allows. Returns the exit code: 0 if the graph was ready when it was
        stopped, or else 128 and the signal's number.

        What an ended graph left is removed before the next one starts.
        """
        restarts = 0
        while await self._pause(restarts):
            began = time.monotonic()
            code = await self._run_once()
            if code == 0 or (code in _REFUSED and not restarts and not self._received):
                return code
            if code != LOST and not self._received:
                self._report(f"The graph's process has ended with code {code}")
            is_healthy = time.monotonic() - began >= self._policy.healthy_after_s
            restarts = 1 if is_healthy else restarts + 1
            if restarts > self._policy.max_restarts and not self._received:
                return FAILED
        return 128 + self._received

    async def _run_once(self) -> int:
        """Run one graph, and remove what it left. Returns its exit code."""
        context = get_context("spawn")
        told, telling = context.Pipe(duplex=False)
        process = self._process = context.Process(target=self._target, kwargs={"telling": telling})
        process.start()
        telling.close()
        if self._received:  # meanwhile
            process.terminate()
        while process.exitcode is None:
            await asyncio.sleep(_POLL_S)
            if _has_message(told):
                self.was_ready.set()
            if time.monotonic() > self._killed_at:
                process.kill()
        self._process = None
        told.close()
        remove_remains()
        return process.exitcode

    def stop(self, number: int) -> None:
        """End the graph, and start no other one. number: of the signal, for the exit code."""
        self._received = number
        self._killed_at = min(self._killed_at, time.monotonic() + self._stop_timeout_s)
        self._stopped.set()
        if self._process and self._process.pid:
            self._process.terminate()

    async def _pause(self, restarts: int) -> bool:
        """Wait before a restart; before the first start, do nothing. False if a signal has come."""
        if restarts and not self._received:
            delay_s = self._policy.delay_of(restarts)
            when = f" in {delay_s:g} s" if delay_s else ""
            number = f"restart {restarts} of at most {self._policy.max_restarts} in a row"
            self._report(f"Starting the graph again{when}: {number}")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), delay_s)
        return not self._received

    def tell_end(self) -> None:
        """Report that the graph has ended for good, unless it has been stopped."""
        if not self._received:
            self._report("The graph is not started again; the other clusters go on")


def supervise(*graphs: Supervisor, front: Front | None = None) -> int:
    """Run the graphs until all have ended, one started after the other: each when the one before
    is ready. Where one does not start, the ones behind it do not either. front: what takes their
    requests, if there are several.

    SIGINT and SIGTERM stop all. Returns the exit code, the least of the graphs': 0 if one was ready
    when it was stopped.
    """
    return asyncio.run(_run_all(graphs, front))


async def _run_all(graphs: Sequence[Supervisor], front: Front | None) -> int:
    def stop(number: int) -> None:
        if front:
            front.stop()
        for graph in graphs:
            graph.stop(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    serving = asyncio.create_task(front.run()) if front else None
    try:
        return await _run_graphs(graphs)
    finally:
        if serving:
            serving.cancel()
            await asyncio.wait([serving])


async def _run_graphs(graphs: Sequence[Supervisor]) -> int:
    running: dict[asyncio.Task[int], Supervisor] = {}
    for graph in graphs:
        task = asyncio.create_task(graph.run())
        running[task] = graph
        ready = asyncio.create_task(graph.was_ready.wait())
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            break
    pending = set(running)
    while pending:
        ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in ended if pending else ():
            running[task].tell_end()
    return min(task.result() for task in running)


def _in_own_session(
    run_graph: Callable[..., None], *arguments: object, telling: Connection
) -> None:
    """Call `run_graph` where no signal to the supervisor's process group reaches Ray's processes;
    SIGTERM comes when the supervisor has died."""
    os.setsid()
    threading.Thread(target=_stop_after_supervisor, daemon=True).start()
    run_graph(partial(telling.send, None), *arguments)


def _has_message(connection: Connection) -> bool:
    """Take a message, if there is one. False also if the other end has been closed."""
    try:
        return connection.poll() and connection.recv() is None
    except EOFError:
        return False


def _stop_after_supervisor() -> None:
    if supervisor := parent_process():
        supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
