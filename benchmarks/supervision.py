"""Requests lost when a process under a server is killed: python -m benchmarks.supervision

`facegraph serve serve_config.yaml` runs as a command, under steady load at concurrency 8:
comparisons of photos of 640 px whose right answers are known. Each client waits for a tenth of a
second after a request that failed. The processes are killed with SIGKILL, one after the other, and
each time the load goes on until the graph has answered for some seconds again. Serve restarts its
controller, its proxy and the ingress; without Ray's agent, raylet or GCS there is no cluster, and
the command starts another one.

`away` is the longest time between two right answers, `failed` counts the requests that got another
status or none, and `wrong` the answers to another pair of photos.
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from benchmarks.harness.results import report
from graph.cluster.launch import free_port
from tests.support.load import Load, Outcome, Sent
from tests.support.processes import descendant

CONCURRENCY = 8
PAUSE_S = 0.1
SETTLED_S, LONGEST_S = 15.0, 120.0
PROCESSES = {
    "Serve's controller": "ServeController",
    "Serve's proxy": "HAProxyManager",
    "Ray's agent": "DashboardAgent",
    "the raylet": "/raylet",
    "the GCS": "/gcs_server",
}
COLUMNS = ("killed", "sent", "failed", "wrong", "away s", "longest ms", "restarted")


@dataclass(frozen=True)
class Kill:
    """A killed process, and the requests that ended between then and the phase's end.

    began: of the phase, in s of `time.perf_counter`. restarted: the command started a new cluster.
    """

    name: str
    began: float
    restarted: bool
    sent: Sequence[Sent]

    def row(self) -> tuple[object, ...]:
        answered = [one for one in self.sent if one.outcome.status == 200]
        away = longest_gap_s(self.began, (one.ended for one in answered if one.outcome.right))
        return (
            self.name,
            len(self.sent),
            len(self.sent) - len(answered),
            sum(one.outcome.right is False for one in answered),
            f"{away:.1f}",
            f"{max(one.latency_s for one in answered) * 1000:.0f}",
            "yes" if self.restarted else "no",
        )


class Command:
    """`facegraph serve` in a process of its own, and the lines that it has written."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path, url: str) -> None:
        self._process = process
        self._output = output
        self.url = url
        self.pid = process.pid

    def lines(self, pattern: str) -> list[str]:
        """The parts of its lines, in order, that match the regular expression."""
        return re.findall(pattern, self._output.read_text())

    def restarts(self) -> int:
        return len(self.lines("Starting the graph again"))

    def address(self) -> str:
        """The newest cluster's address."""
        return self.lines(r"(?<=: address )\S+(?=, logs in )")[-1]

    def wait_ready(self) -> None:
        while not self.lines("Ready after "):
            if self._process.poll() is not None:
                raise RuntimeError(self._output.read_text())
            time.sleep(0.1)

    def kill(self, title: str) -> None:
        os.kill(descendant(self.pid, title), signal.SIGKILL)


@contextmanager
def command(config: Path, output: Path, *options: str) -> Iterator[Command]:
    port = free_port()
    serve = [sys.executable, "-m", "graph.commands.main", "serve"]
    line = [*serve, str(config), "--port", str(port), *options]
    with output.open("wb") as file, subprocess.Popen(line, stdout=file, stderr=file) as process:
        try:
            yield Command(process, output, f"http://127.0.0.1:{port}")
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


async def killed(served: Command, load: Load, name: str, seconds: float) -> Kill:
    """Kill a process. Wait for SETTLED_S, for Ray may notice late, and then until requests have
    been answered, and none has failed, for `seconds`."""
    restarts = served.restarts()
    began = time.perf_counter()
    served.kill(PROCESSES[name])
    await asyncio.sleep(SETTLED_S)
    while time.perf_counter() < began + LONGEST_S:
        recent = [one for one in load.sent if one.ended > time.perf_counter() - seconds]
        if recent and all(one.outcome.status == 200 for one in recent):
            break
        await asyncio.sleep(0.1)
    sent = [one for one in load.sent if one.ended > began]
    return Kill(name, began, served.restarts() > restarts, sent)


async def run(served: Command, options: argparse.Namespace) -> list[Kill]:
    pairs = [compare_request(*map(photo_640, pair)) for pair in PAIRS]
    async with connection(served.url, CONCURRENCY) as post:
        load = patient(post, await with_answers(served.url, pairs))
        running = asyncio.create_task(load.run(CONCURRENCY))
        kills = []
        for name in options.only or PROCESSES:
            await asyncio.sleep(options.seconds)
            kills.append(await killed(served, load, name, options.seconds))
            print(*kills[-1].row(), flush=True)
        load.end()
        await running
    return kills


def show(kills: Sequence[Kill]) -> None:
    def draw(axes: Any) -> None:
        for place, kill in enumerate(kills):
            for label, colour, is_answered in (
                ("answered", "tab:blue", True),
                ("failed", "tab:red", False),
            ):
                ends = [
                    one.ended - kill.began
                    for one in kill.sent
                    if (one.outcome.status == 200) == is_answered
                ]
                axes.scatter(
                    ends, [place] * len(ends), s=4, c=colour, label=None if place else label
                )
        axes.set_yticks(range(len(kills)), [kill.name for kill in kills])
        axes.set(xlabel="s after the process was killed")
        axes.legend(fontsize=7)

    title = f"/v1/compare at concurrency {CONCURRENCY} when a process of the cluster is killed"
    report("supervision", title, COLUMNS, [kill.row() for kill in kills], draw=draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--seconds", type=float, default=6, help="of load before and after a kill")
    parser.add_argument("--only", nargs="+", choices=PROCESSES, help="the processes to kill")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, command(options.config, Path(folder) / "log") as served:
        served.wait_ready()
        kills = asyncio.run(run(served, options))
    show(kills)


if __name__ == "__main__":
    main()
