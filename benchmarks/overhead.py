"""The graph's own cost on top of its models: python -m benchmarks.overhead [--only sharing]

Part `stand-ins`: the real ingress and pipeline over HTTP, with a stand-in for every stage that
answers at once (benchmarks/harness/stand_ins.py), on a cluster of its own for each variant: with
and without the switches of serve_config.yaml (HAProxy, throughput). All of a request's time and CPU
is the graph's, apart from the client's own part. Three tables:

- CPU: milliseconds of a core for one /v1/compare of two 640-px photos, by process, less what the
  process uses when idle;
- latency of that request;
- hops, with one client and bodies of one size: 0 hops is a body that the ingress reads and refuses,
  detect calls one stage, embed three and compare four, each with the arguments and answers of the
  real stage.

Part `sharing`: comparisons of two 640-px photos by serve_config.yaml as it is, whose requests share
calls of the detector and of the recognizers, and with calls of their own
(`calls.max_requests_per_call: 1`), each on a cluster of its own, in alternation. `/s ratio` is
shared / own, the median over the rounds. The CPU includes the client's.

Client and graph share the machine's cores.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness.load import (
    CONFIG,
    MS,
    Request,
    compare_request,
    photo_640,
    post_of,
    two_groups,
)
from benchmarks.harness.results import draw_bars, paired_ratio, report
from benchmarks.harness.turns import (
    CLIENT,
    LOGICAL_CPUS,
    OTHER,
    PROXY,
    SHIPPED,
    WARM_UP_S,
    Turn,
    Variant,
    cpu_of,
    stand_in_content,
    turn,
)
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file

IDLE_S = 3.0
VARIANTS = (
    SHIPPED,
    Variant(switches=False),
)
HOPS = (0, 1, 3, 4)
SHARING = ("shared", "own")
SHARING_CONCURRENCIES = (1, 4, 16, 64)
SHARING_WARM_UP_S, SETTLING_S = 4, 3


@dataclass(frozen=True)
class Measured:
    """hops: one turn for each number of HOPS."""

    variant: Variant
    idle_cores: Mapping[str, float]
    compares: Sequence[Turn]
    hops: Sequence[Turn]


def main() -> None:
    parts = ("stand-ins", "sharing")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    parser.add_argument("--seconds", type=float, default=8, help="of each turn")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16], help="on stand-ins")
    parser.add_argument("--rounds", type=int, default=3, help="of the part `sharing`")
    options = parser.parse_args()
    if "stand-ins" in options.only:
        found = [measured(variant, options) for variant in VARIANTS]
        report_cpu(found)
        report_latency(found)
        report_hops(found)
    if "sharing" in options.only:
        report_sharing(sharing_turns(options.rounds, options.seconds))


def measured(variant: Variant, options: argparse.Namespace) -> Measured:
    with own_graph(stand_in_content(variant), num_cpus=LOGICAL_CPUS) as graph:
        request, seconds = two_groups(), options.seconds
        turn(graph, request, 4, seconds=WARM_UP_S)
        idle = idle_cores()
        compares = [turn(graph, request, many, seconds, idle) for many in options.concurrency]
        hops = [turn(graph, one, 1, seconds, idle) for one in hop_requests()]
        return Measured(variant, idle, compares, hops)


def hop_requests() -> list[Request]:
    """A request for each of HOPS, bodies of one size. Stand-ins decode no photo, so half of one
    is enough."""
    photo = photo_640("players.jpg")
    half = photo[: len(photo) // 2]
    return [
        post_of("/v1/detect", {"no_such_field": photo}, status=400),
        post_of("/v1/detect", {"image": photo}),
        post_of("/v1/embed", {"image": photo}),
        compare_request(half, half),
    ]


def idle_cores() -> dict[str, float]:
    _, spent = cpu_of(lambda: time.sleep(IDLE_S))
    return {place: cpu / IDLE_S for place, cpu in spent.items()}


def places() -> list[str]:
    stages = deployment_names(graph_config(read_serve_file(CONFIG)))
    return [CLIENT, PROXY, *stages, "controller", "raylet", "GCS", OTHER]


def variant_turns(found: Sequence[Measured]) -> list[tuple[Variant, Turn]]:
    return [(one.variant, turn) for one in found for turn in one.compares]


def report_cpu(found: Sequence[Measured]) -> None:
    turns = variant_turns(found)
    rows = [
        (place, *(f"{turn.cpu_ms.get(place, 0.0):.2f}" for _, turn in turns)) for place in places()
    ]
    rows.append(("the graph's", *(f"{turn.graph_ms:.2f}" for _, turn in turns)))
    report(
        "overhead_cpu",
        "CPU ms per /v1/compare on stand-ins, by process",
        ("process", *(f"{variant}, {turn.concurrency} at once" for variant, turn in turns)),
        rows,
        draw=lambda axes: draw_cpu(axes, turns),
        raw=[asdict(one) for one in found],
    )


def report_latency(found: Sequence[Measured]) -> None:
    columns = (
        "variant",
        "concurrency",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "client CPU ms",
    )
    bars = [
        (f"{variant}, {turn.concurrency}", turn.p50_ms) for variant, turn in variant_turns(found)
    ]
    report(
        "overhead_latency",
        "/v1/compare on stand-ins: the graph's own latency",
        (*columns, "idle CPU ms/s", "failed"),
        [latency_row(one, turn) for one in found for turn in one.compares],
        draw=lambda axes: draw_bars(axes, bars, "p50 ms, by variant and concurrency"),
    )


def latency_row(one: Measured, turn: Turn) -> Sequence[object]:
    times = (turn.p50_ms, turn.p99_ms, turn.graph_ms, turn.cpu_ms[CLIENT])
    return (
        str(one.variant),
        turn.concurrency,
        f"{turn.rate:.1f}",
        *(f"{value:.2f}" for value in times),
        f"{sum(one.idle_cores.values()) * MS:.0f}",
        turn.failed,
    )


def report_hops(found: Sequence[Measured]) -> None:
    columns = (
        "variant",
        "route",
        "hops",
        "p50 ms",
        "CPU ms",
        "p50 ms per hop more",
        "CPU ms per hop",
    )
    report(
        "overhead_hops",
        "By hop, one client, stand-ins",
        (*columns, "failed"),
        [row for one in found for row in hop_rows(one)],
        draw=lambda axes: draw_hops(axes, found),
        raw=[
            {"variant": str(one.variant), "turns": [asdict(turn) for turn in one.hops]}
            for one in found
        ],
    )


def hop_rows(one: Measured) -> list[Sequence[object]]:
    """A row for each number of hops; its differences are those to the row above, per hop."""
    figures = [np.array([turn.p50_ms, turn.graph_ms]) for turn in one.hops]
    steps = zip(pairwise(figures), pairwise(HOPS), strict=True)
    more = [(after - before) / (hops - less) for (before, after), (less, hops) in steps]
    differences = [("", ""), *(tuple(f"{ms:.2f}" for ms in both) for both in more)]
    return [
        (str(one.variant), turn.path, hops, *(f"{ms:.2f}" for ms in own), *difference, turn.failed)
        for turn, hops, own, difference in zip(one.hops, HOPS, figures, differences, strict=True)
    ]


def draw_cpu(axes: Any, turns: Sequence[tuple[Variant, Turn]]) -> None:
    """A bar for each variant and concurrency, made up of its processes."""
    rows = range(len(turns))
    ends = np.zeros(len(turns))
    for index, place in enumerate(places()):
        # A value below idle is noise.
        values = [max(0.0, turn.cpu_ms.get(place, 0.0)) for _, turn in turns]
        hatch = "//" if index > 9 else ""  # the colours repeat after ten
        axes.barh(rows, values, left=ends, label=place, color=f"C{index}", hatch=hatch)
        ends += values
    axes.set_yticks(rows, [f"{variant}, {turn.concurrency}" for variant, turn in turns], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("CPU ms per request, by variant and concurrency")
    axes.legend(fontsize=6)


def draw_hops(axes: Any, found: Sequence[Measured]) -> None:
    for one in found:
        axes.plot(HOPS, [turn.p50_ms for turn in one.hops], "o-", label=str(one.variant))
    axes.set_xticks(HOPS)
    axes.set(xlabel="stages that a request calls", ylabel="p50, ms")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def sharing_turns(rounds: int, seconds: float) -> list[list[list[Turn]]]:
    """By concurrency, then by SHARING: a turn of each round."""
    found = [[sharing_turn(variant, seconds) for variant in SHARING] for _ in range(rounds)]
    return [
        [[both[variant][index] for both in found] for variant in range(len(SHARING))]
        for index in range(len(SHARING_CONCURRENCIES))
    ]


def sharing_turn(variant: str, seconds: float) -> list[Turn]:
    """A turn at each concurrency."""
    content, request = read_serve_file(CONFIG), two_groups()
    if variant == "own":
        content["applications"][0]["args"]["calls"]["max_requests_per_call"] = 1
    with own_graph(content) as graph:
        turn(graph, request, 4, SHARING_WARM_UP_S)
        time.sleep(SETTLING_S)
        return [turn(graph, request, many, seconds) for many in SHARING_CONCURRENCIES]


def report_sharing(found: Sequence[Sequence[Sequence[Turn]]]) -> None:
    report(
        "shared_calls",
        "Requests that share calls, and with calls of their own",
        ("concurrency", "shared /s", "own /s", "/s ratio", "shared CPU ms", "own CPU ms", "failed"),
        [sharing_row(shared, own) for shared, own in found],
        draw=lambda axes: draw_sharing(axes, found),
        raw=[[[asdict(one) for one in variant] for variant in both] for both in found],
    )


def sharing_row(shared: Sequence[Turn], own: Sequence[Turn]) -> Sequence[object]:
    rates = [[one.rate for one in variant] for variant in (shared, own)]
    cpu = [median(sum(one.cpu_ms.values()) for one in variant) for variant in (shared, own)]
    return (
        shared[0].concurrency,
        *(f"{median(variant):.1f}" for variant in rates),
        f"{paired_ratio(*rates):.2f}",
        *(f"{ms:.0f}" for ms in cpu),
        sum(one.failed for one in (*shared, *own)),
    )


def draw_sharing(axes: Any, found: Sequence[Sequence[Sequence[Turn]]]) -> None:
    for index, variant in enumerate(SHARING):
        rates = [median(one.rate for one in both[index]) for both in found]
        axes.plot([str(count) for count in SHARING_CONCURRENCIES], rates, marker="o", label=variant)
    axes.set(xlabel="concurrency", ylabel="comparisons/s")
    axes.set_ylim(bottom=0)
    axes.legend()


if __name__ == "__main__":
    main()
