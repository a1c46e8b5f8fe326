"""Failures and latency that clients see while parts of the graph fail: python -m benchmarks.chaos

serve_config.yaml on a cluster of its own, under steady load at concurrency 16: comparisons of
photos of 640 px whose right answers are known. Half of the clients write a request's head and body
at once, half apart. The faults, one after the other: a replica of each stage and of the ingress is
killed; the graph is redeployed with another threshold; a detector's process is stopped with
SIGSTOP; a recognizer's canary fails; ten times the load comes for some seconds.

`sent` and the columns after it count the requests in flight between the fault's start and its end.
`failed` counts every status but 200, without `refused` (503 with Retry-After, under overload).
`recovered` is the time until the end of the last request that failed or took longer than twice the
p99 before.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.load import (
    CONFIG,
    MS,
    compare_request,
    connection,
    cycled,
    httpx_connection,
    photo_640,
    with_answers,
)
from benchmarks.harness.results import report
from graph.cluster.launch import RunningGraph, deploy, own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.faults import one_replica, replaced
from tests.support.load import Load, Sent

CONCURRENCY = 16
OVERLOAD = 10
# Seconds for which an ingress replica that ends still takes requests, as in the profiles.
DRAINING_S = 5.0
# The similarities of these pairs lie far apart: an answer to another pair is never right.
PAIRS = (
    ("yaoming.jpg", "yaoming.jpg"),
    ("yaoming.jpg", "players.jpg"),
    ("gdp.jpg", "yaoming.jpg"),
    ("gdp.jpg", "gdp.jpg"),
)
COLUMNS = (
    "fault",
    "sent",
    "failed",
    "refused",
    "wrong",
    "p50 ms",
    "p99 ms",
    "p99 before",
    "longest ms",
    "recovered s",
)
Fault = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Phase:
    """A fault with the requests before and during it; times in s of `time.perf_counter`."""

    name: str
    began: float
    ended: float
    before: Sequence[Sent]
    during: Sequence[Sent]

    def row(self) -> tuple[object, ...]:
        outcomes = [one.outcome for one in self.during]
        answered = [one for one in self.during if one.outcome.status == 200]
        refused = sum(one.status == 503 and one.retry_after is not None for one in outcomes)
        usual = np.percentile([one.latency_s for one in self.before], 99)
        latencies = [one.latency_s for one in answered] or [0.0]
        p50, p99, longest = np.percentile(latencies, [50, 99, 100]) * MS
        slow = [
            one.ended
            for one in self.during
            if one.outcome.status != 200 or one.latency_s > 2 * usual
        ]
        return (
            self.name,
            len(self.during),
            len(outcomes) - len(answered) - refused,
            refused,
            sum(one.right is False for one in outcomes),
            f"{p50:.0f}",
            f"{p99:.0f}",
            f"{usual * MS:.0f}",
            f"{longest:.0f}",
            f"{max(slow, default=self.began) - self.began:.1f}",
        )


class Chaos:
    def __init__(self, graph: RunningGraph, load: Load, seconds: float) -> None:
        self._graph = graph
        self._load = load
        self._seconds = seconds

    def faults(self) -> dict[str, Fault]:
        deployments = self._graph.content["applications"][0]["deployments"]
        killed = {f"kill {one['name']}": self._killing(one["name"]) for one in deployments}
        return killed | {
            "redeploy": self._redeploy,
            "Detector hangs": self._hang,
            "Recognizer's canary fails": self._unhealthy,
            f"load x {OVERLOAD}": self._overload,
        }

    async def phase(self, name: str, fault: Fault) -> Phase:
        await asyncio.sleep(self._seconds)  # steady again
        began = time.perf_counter()
        before = [one for one in self._load.sent if one.ended > began - self._seconds]
        await fault()
        await asyncio.sleep(self._seconds)
        ended = time.perf_counter()
        during = [one for one in self._load.sent if one.ended > began]
        return Phase(name, began, ended, before, during)

    def _killing(self, deployment: str) -> Fault:
        async def kill() -> None:
            lost = one_replica(deployment, self._graph.app_name)
            lost.kill()
            await replaced(lost, deployment, self._graph.app_name)

        return kill

    async def _redeploy(self) -> None:
        content = deepcopy(self._graph.content)
        content["applications"][0]["args"]["recognizers"]["arcface"]["threshold"] = 0.3
        await asyncio.to_thread(deploy, content)

    async def _hang(self) -> None:
        hung = one_replica("Detector", self._graph.app_name)
        with hung.stopped():
            await replaced(hung, "Detector", self._graph.app_name)

    async def _unhealthy(self) -> None:
        sick = one_replica("Recognizer:arcface", self._graph.app_name)
        await asyncio.to_thread(sick.fail_health_checks)
        await replaced(sick, "Recognizer:arcface", self._graph.app_name)

    async def _overload(self) -> None:
        await self._load.run(CONCURRENCY * (OVERLOAD - 1), seconds=self._seconds)


async def run_faults(graph: RunningGraph, options: argparse.Namespace) -> list[Phase]:
    pairs = [compare_request(*map(photo_640, pair)) for pair in PAIRS]
    phases = []
    clients = CONCURRENCY * OVERLOAD
    async with (
        connection(graph.url, clients) as post,
        httpx_connection(graph.url, clients) as apart,
    ):
        load = cycled((post, apart), await with_answers(graph.url, pairs))
        chaos = Chaos(graph, load, options.seconds)
        running = asyncio.create_task(load.run(CONCURRENCY))
        for name, fault in chaos.faults().items():
            if options.only and not any(part in name for part in options.only):
                continue
            phases.append(await chaos.phase(name, fault))
            failures = {one.outcome.failure[:90] for one in phases[-1].during}
            print(*phases[-1].row(), failures, flush=True)
        load.end()
        await running
    return phases


def show(phases: Sequence[Phase]) -> None:
    def draw(axes: Any) -> None:
        start = phases[0].began
        for phase in phases:
            axes.axvspan(phase.began - start, phase.ended - start, alpha=0.08)
            axes.text(phase.began - start, 1.0, phase.name, rotation=90, fontsize=6, va="bottom")
        sent = [one for phase in phases for one in (*phase.before, *phase.during)]
        for label, colour, some in (
            ("answered", "tab:blue", [one for one in sent if one.outcome.status == 200]),
            ("refused or failed", "tab:red", [one for one in sent if one.outcome.status != 200]),
        ):
            times = [one.ended - start for one in some]
            axes.scatter(times, [one.latency_s for one in some], s=2, c=colour, label=label)
        axes.set(xlabel="s", ylabel="s until the answer", yscale="log")
        axes.legend(fontsize=7)

    rows = [phase.row() for phase in phases]
    raw = [
        {"fault": phase.name, "statuses": Counter(one.outcome.status for one in phase.during)}
        | {"latencies_ms": [round(one.latency_s * MS) for one in phase.during]}
        for phase in phases
    ]
    title = f"/v1/compare at concurrency {CONCURRENCY} while parts of the graph fail"
    report("chaos", title, COLUMNS, rows, draw=draw, raw=raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument(
        "--seconds", type=float, default=10, help="of load before and after each fault"
    )
    parser.add_argument("--only", nargs="+", help="parts of the names of the faults wanted")
    options = parser.parse_args()
    with own_graph(read_serve_file(options.config), draining_s=DRAINING_S) as graph:
        phases = asyncio.run(run_faults(graph, options))
    show(phases)


if __name__ == "__main__":
    main()
