"""Requests lost when a process under a server is killed: python -m benchmarks.supervision

`facegraph serve serve_config.yaml` runs as a command, under steady load at concurrency 8:
comparisons of photos of 640 px whose right answers are known. Half of the clients keep their
connections, half open one for each request. Each waits for a tenth of a second after a request that
failed. The processes are killed with SIGKILL, one after the other, and each time the load goes on
until all is well again. Serve restarts its controller, its proxy and the ingress; without Ray's
agent, raylet or GCS there is no cluster, and the command starts another one. With --clusters 2 the
other cluster answers meanwhile, and the HAProxy before both is killed too.

`away` is the longest time between two right answers, `failed` counts the requests that got another
status or none, and `wrong` the answers to another pair of photos. The memory (PSS) of all
processes and the cores that they use without requests are measured first.
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.chaos import PAIRS
from benchmarks.harness.load import (
    CONFIG,
    Post,
    Request,
    compare_request,
    connection,
    longest_gap_s,
    photo_640,
    with_answers,
)
from benchmarks.harness.processes import cpu_s, descendants, memories
from benchmarks.harness.results import report
from graph.cluster.preflight import free_port
from tests.support.load import Load, Outcome, Sent
from tests.support.processes import descendant

CONCURRENCY = 8
KINDS = ("kept", "new")  # of connections
IDLE_S = 10.0
GRAPH, FRONT = "the graph's process", "the HAProxy before the clusters"
PAUSE_S = 0.1
SETTLED_S, LONGEST_S = 15.0, 120.0
PROCESSES = {
    "Serve's controller": "ServeController",
    "Serve's proxy": "HAProxyManager",
    "HAProxy": "haproxy",
    "Ray's agent": "DashboardAgent",
    "the raylet": "/raylet",
    "the GCS": "/gcs_server",
    GRAPH: "python",
    FRONT: "haproxy",
}
COLUMNS = (
    "killed", "connections", "sent", "failed", "wrong", "away s", "longest ms", "new cluster"
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """A killed process, and the requests that ended between then and the phase's end, by the kind
    of their connections.

    began: of the phase, in s of `time.perf_counter`. restarted: the command started a new cluster.
    """

    name: str
    began: float
    restarted: bool
    sent: Mapping[str, Sequence[Sent]]

    def rows(self) -> list[tuple[object, ...]]:
        return [self._row(kind, sent) for kind, sent in self.sent.items()]

    def _row(self, kind: str, sent: Sequence[Sent]) -> tuple[object, ...]:
        answered = [one for one in sent if one.outcome.status == 200]
        away = longest_gap_s(self.began, (one.ended for one in answered if one.outcome.right))
        return (
            self.name,
            kind,
            len(sent),
            len(sent) - len(answered),
            sum(one.outcome.right is False for one in answered),
            f"{away:.1f}",
            f"{max(one.latency_s for one in answered) * 1000:.0f}",
            "yes" if self.restarted else "no",
        )


class Command:
    """`facegraph serve` in a process of its own, and the lines that it has written."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", output: Path, url: str, clusters: int
    ) -> None:
        self._process = process
        self._output = output
        self.clusters = clusters
        self.url = url
        self.pid = process.pid

    def lines(self, pattern: str) -> list[str]:
        """The parts of its lines, in order, that match the regular expression."""
        return re.findall(pattern, self._output.read_text())

    def restarts(self) -> int:
        return len(self.lines("Starting the graph again"))

    def addresses(self) -> list[str]:
        """The address of each cluster as it was last started."""
        return list(self._last(r"Ray ready after [\d.]+ s: address (\S+),").values())

    def is_whole(self) -> bool:
        """Tell whether every cluster is ready, as its last line about that says."""
        last = self._last(r"(Ready|The Ray cluster has ended|The graph's process has ended)\b")
        return list(last.values()) == ["Ready"] * self.clusters

    def _last(self, pattern: str) -> dict[str, str]:
        """The group of the last line of each cluster that begins with the pattern, by what the
        cluster's lines begin with."""
        return dict(re.findall(f"(?m)^(cluster \\d+: |){pattern}", self._output.read_text()))

    def wait_ready(self) -> None:
        while not self.is_whole():
            if self._process.poll() is not None:
                raise RuntimeError(self._output.read_text())
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        graphs, fronts = self._children("--multiprocessing-fork"), self._children("haproxy")
        if name in (GRAPH, FRONT):
            pid = (graphs if name == GRAPH else fronts)[0]
        else:
            pid = descendant(graphs[0], PROCESSES[name])
        os.kill(pid, signal.SIGKILL)

    def _children(self, word: str) -> list[int]:
        """The command's own child processes whose command line contains the word."""
        children = [one for one in descendants(self.pid) if one.parent == self.pid]
        return [one.pid for one in children if word in " ".join(one.arguments)]


@contextmanager
def command(config: Path, output: Path, *options: str, clusters: int = 1) -> Iterator[Command]:
    port = free_port()
    serve = [sys.executable, "-m", "graph.commands.main", "serve"]
    line = [*serve, str(config), "--port", str(port), "--clusters", str(clusters), *options]
    with output.open("wb") as file, subprocess.Popen(line, stdout=file, stderr=file) as process:
        try:
            yield Command(process, output, f"http://127.0.0.1:{port}", clusters)
        finally:
            process.terminate()


def patient(post: Post, requests: Sequence[Request]) -> Load:
    """Load of these requests in a cycle, by clients that wait after a failure."""

    async def send(client: int, turn: int) -> Outcome:
        outcome = await post(requests[(client + turn) % len(requests)])
        if outcome.status != 200:
            await asyncio.sleep(PAUSE_S)
        return outcome

    return Load(send)


async def killed(served: Command, loads: Mapping[str, Load], name: str, seconds: float) -> Kill:
    """Kill a process. Wait for SETTLED_S, for Ray may notice late, and then until all clusters are
    ready, and requests have been answered, and none has failed, for `seconds`."""
    restarts = served.restarts()
    began = time.perf_counter()
    served.kill(name)
    await asyncio.sleep(SETTLED_S)
    while time.perf_counter() < began + LONGEST_S:
        late = time.perf_counter() - seconds
        recent = [one for load in loads.values() for one in load.sent if one.ended > late]
        if served.is_whole() and recent and all(one.outcome.status == 200 for one in recent):
            break
        await asyncio.sleep(0.1)
    sent = {kind: [one for one in load.sent if one.ended > began] for kind, load in loads.items()}
    return Kill(name, began, served.restarts() > restarts, sent)


async def run(served: Command, options: argparse.Namespace) -> list[Kill]:
    pairs = [compare_request(*map(photo_640, pair)) for pair in PAIRS]
    clients = CONCURRENCY // len(KINDS)
    async with AsyncExitStack() as stack:
        right = await with_answers(served.url, pairs)
        loads = {}
        for kind in KINDS:
            post = connection(served.url, clients, kept=kind == "kept")
            loads[kind] = patient(await stack.enter_async_context(post), right)
        running = [asyncio.create_task(load.run(clients)) for load in loads.values()]
        kills = []
        for name in options.only or killable(served.clusters):
            await asyncio.sleep(options.seconds)
            kills.append(await killed(served, loads, name, options.seconds))
            for row in kills[-1].rows():
                print(*row, flush=True)
        for load in loads.values():
            load.end()
        await asyncio.gather(*running)
    return kills


def killable(clusters: int) -> list[str]:
    """The names of the processes that a server with so many clusters has."""
    return [name for name in PROCESSES if clusters > 1 or name != FRONT]


def idle_cost(pid: int) -> dict[str, float]:
    """Memory and CPU of the command and all processes below it while no requests come."""
    pids = [pid, *(process.pid for process in descendants(pid))]

    def used_s() -> float:
        found = 0.0
        for one in pids:
            with suppress(OSError):
                found += cpu_s(one)
        return found

    before = used_s()
    time.sleep(IDLE_S)
    cores = (used_s() - before) / IDLE_S
    memory = sum(one.pss_mib for one in memories(descendants(pid)).values())
    return {"processes": len(pids), "pss_mib": round(memory), "idle_cores": round(cores, 2)}


def show(kills: Sequence[Kill], clusters: int, cost: Mapping[str, float]) -> None:
    def draw(axes: Any) -> None:
        for place, kill in enumerate(kills):
            for label, colour, is_answered in (
                ("answered", "tab:blue", True),
                ("failed", "tab:red", False),
            ):
                ends = [
                    one.ended - kill.began
                    for sent in kill.sent.values()
                    for one in sent
                    if (one.outcome.status == 200) == is_answered
                ]
                axes.scatter(
                    ends, [place] * len(ends), s=4, c=colour, label=None if place else label
                )
        axes.set_yticks(range(len(kills)), [kill.name for kill in kills])
        axes.set(xlabel="s after the process was killed")
        axes.legend(fontsize=7)

    name = "supervision" if clusters == 1 else f"supervision_{clusters}_clusters"
    title = (
        f"/v1/compare at concurrency {CONCURRENCY} when a process is killed: {clusters} cluster(s)"
    )
    rows = [row for kill in kills for row in kill.rows()]
    report(name, title, COLUMNS, rows, draw=draw, raw=cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6, help="of load before and after a kill")
    parser.add_argument("--only", nargs="+", choices=PROCESSES, help="the processes to kill")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with command(options.config, log, clusters=options.clusters) as served:
            served.wait_ready()
            cost = idle_cost(served.pid)
            print(cost, flush=True)
            kills = asyncio.run(run(served, options))
    show(kills, options.clusters, cost)


if __name__ == "__main__":
    main()
