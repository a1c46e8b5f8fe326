"""What the graph itself adds to its models: python -m benchmarks.overhead

The real ingress and pipeline over HTTP, with a stand-in for every stage that answers at once
(benchmarks/harness/stand_ins.py), on a cluster of its own for each way: stages that answer directly
or by reference, with and without the switches of serve_config.yaml (HAProxy, throughput). So all of
a request's time and CPU is the graph's, but for the client's own part.

`CPU`: milliseconds of a core for one /v1/compare of two 640-px photos, by process, less what the
process takes while nobody asks. `latency`: how long that request takes. `hops`: one client, bodies
of one size; 0 hops is a body that the ingress reads and refuses, detect calls one stage, embed
three and compare four, each of them with what it sends and answers.

Client and graph share the machine's cores.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.footprint import draw_bars
from benchmarks.harness.load import CONFIG, multipart, photo_640
from benchmarks.harness.results import report
from benchmarks.harness.turns import (
    CLIENT,
    LOGICAL_CPUS,
    MS,
    OTHER,
    PROXY,
    SHIPPED,
    WARM_UP_S,
    Call,
    Turn,
    Way,
    compare_call,
    cpu_of,
    stand_in_content,
    turn,
)
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file

IDLE_S = 3.0
WAYS = (
    SHIPPED,
    Way("direct", switches=False),
    Way("by_reference", switches=True),
    Way("by_reference", switches=False),
)


@dataclass(frozen=True)
class Measured:
    way: Way
    idle_cores: Mapping[str, float]
    compares: Sequence[Turn]
    hops: Sequence[Turn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args()
    found = [measured(way, options) for way in WAYS]
    report_cpu(found)
    report_latency(found)
    report_hops(found)


def measured(way: Way, options: argparse.Namespace) -> Measured:
    with own_graph(stand_in_content(way), num_cpus=LOGICAL_CPUS) as graph:
        call, seconds = compare_call(), options.seconds
        turn(graph, call, 4, seconds=WARM_UP_S)
        idle = idle_cores()
        compares = [turn(graph, call, many, seconds, idle) for many in options.concurrency]
        hops = [turn(graph, call, 1, seconds, idle) for call in hop_calls()]
        return Measured(way, idle, compares, hops)


def hop_calls() -> list[Call]:
    """Bodies of one size: nobody looks into the photos, so that a half of one will do."""
    photo = photo_640("players.jpg")
    half = photo[: len(photo) // 2]
    return [
        Call("/v1/detect", 0, *multipart({"no_such_field": photo}), status=400),
        Call("/v1/detect", 1, *multipart({"image": photo})),
        Call("/v1/embed", 3, *multipart({"image": photo})),
        Call("/v1/compare", 4, *multipart({"source": half, "target": half})),
    ]


def idle_cores() -> dict[str, float]:
    _, spent = cpu_of(lambda: time.sleep(IDLE_S))
    return {place: cpu / IDLE_S for place, cpu in spent.items()}


def places() -> list[str]:
    stages = deployment_names(graph_config(read_serve_file(CONFIG)))
    return [CLIENT, PROXY, *stages, "controller", "raylet", "GCS", OTHER]


def report_cpu(found: Sequence[Measured]) -> None:
    turns = [(one.way, turn) for one in found for turn in one.compares]
    rows = [
        (place, *(f"{turn.cpu_ms.get(place, 0.0):.2f}" for _, turn in turns)) for place in places()
    ]
    rows.append(("the graph's", *(f"{turn.graph_ms:.2f}" for _, turn in turns)))
    report(
        "overhead_cpu",
        "CPU ms per /v1/compare on stand-ins, by process",
        ("process", *(f"{way}, {turn.concurrency} at once" for way, turn in turns)),
        rows,
        draw=lambda axes: draw_cpu(axes, turns),
        raw=[asdict(one) for one in found],
    )


def report_latency(found: Sequence[Measured]) -> None:
    turns = [(one, turn) for one in found for turn in one.compares]
    columns = ("way", "concurrency", "requests/s", "p50 ms", "p99 ms", "CPU ms", "client CPU ms")
    rows = [
        (one.way, turn.concurrency, *latency_cells(turn), idle_ms(one), turn.failed)
        for one, turn in turns
    ]
    bars = [(f"{one.way}, {turn.concurrency}", turn.p50_ms) for one, turn in turns]
    report(
        "overhead_latency",
        "/v1/compare on stand-ins: what the graph adds",
        (*columns, "idle CPU ms/s", "failed"),
        [tuple(map(str, row)) for row in rows],
        draw=lambda axes: draw_bars(axes, bars, "p50 ms, by way and concurrency"),
    )


def latency_cells(turn: Turn) -> tuple[str, ...]:
    times = (turn.p50_ms, turn.p99_ms, turn.graph_ms, turn.cpu_ms[CLIENT])
    return (f"{turn.rate:.1f}", *(f"{value:.2f}" for value in times))


def idle_ms(one: Measured) -> str:
    return f"{sum(one.idle_cores.values()) * MS:.0f}"


def report_hops(found: Sequence[Measured]) -> None:
    columns = ("way", "route", "hops", "p50 ms", "CPU ms", "p50 ms per hop more", "CPU ms per hop")
    report(
        "overhead_hops",
        "By hop, one client, stand-ins",
        (*columns, "failed"),
        [row for one in found for row in hop_rows(one)],
        draw=lambda axes: draw_hops(axes, found),
        raw=[{"way": str(one.way), "turns": [asdict(turn) for turn in one.hops]} for one in found],
    )


def hop_rows(one: Measured) -> list[Sequence[object]]:
    """The last two figures compare with the row above."""
    differences = [("", ""), *(per_hop(less, more) for less, more in pairwise(one.hops))]
    return [
        (
            str(one.way),
            turn.path,
            turn.hops,
            f"{turn.p50_ms:.2f}",
            f"{turn.graph_ms:.2f}",
            *difference,
            turn.failed,
        )
        for turn, difference in zip(one.hops, differences, strict=True)
    ]


def per_hop(less: Turn, more: Turn) -> tuple[str, str]:
    hops = more.hops - less.hops
    latency, cpu = more.p50_ms - less.p50_ms, more.graph_ms - less.graph_ms
    return f"{latency / hops:.2f}", f"{cpu / hops:.2f}"


def draw_cpu(axes: Any, turns: Sequence[tuple[Way, Turn]]) -> None:
    """A bar for each way and concurrency, made up of its processes."""
    rows = range(len(turns))
    ends = np.zeros(len(turns))
    for index, place in enumerate(places()):
        # Less than idle is noise.
        values = [max(0.0, turn.cpu_ms.get(place, 0.0)) for _, turn in turns]
        hatch = "//" if index > 9 else ""  # the colours begin anew
        axes.barh(rows, values, left=ends, label=place, color=f"C{index}", hatch=hatch)
        ends += values
    names = [f"{way}, {turn.concurrency}" for way, turn in turns]
    axes.set_yticks(rows, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("CPU ms per request, by way and concurrency")
    axes.legend(fontsize=6)


def draw_hops(axes: Any, found: Sequence[Measured]) -> None:
    for one in found:
        hops = [turn.hops for turn in one.hops]
        axes.plot(hops, [turn.p50_ms for turn in one.hops], "o-", label=str(one.way))
    axes.set_xticks([turn.hops for turn in found[0].hops])
    axes.set_xlabel("stages that a request goes through")
    axes.set_ylabel("p50, ms")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
