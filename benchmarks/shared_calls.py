"""What sharing calls gains: python -m benchmarks.shared_calls

Comparisons of two 640-px photos by serve_config.yaml as it stands (requests share calls of the
detector and of the recognizers), and with calls of their own (`calls.max_requests_per_call: 1`),
each on a cluster of its own, one after the other, again and again. Read `/s ratio`, shared / own:
the median over the rounds. `CPU`: milliseconds for one comparison, the client's among them.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.harness.load import CONFIG
from benchmarks.harness.results import paired_ratio, report
from benchmarks.harness.turns import Turn, compare_call, turn
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

CONCURRENCIES = (1, 4, 16, 64)
WAYS = ("shared", "own")
WARM_UP_S, SETTLING_S = 4, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each turn")
    options = parser.parse_args()
    found: dict[str, list[list[Turn]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            found[way].append(turns(content(way), options.seconds))
    by_concurrency = [
        [[turns_[index] for turns_ in found[way]] for way in WAYS]
        for index in range(len(CONCURRENCIES))
    ]
    report(
        "shared_calls",
        "Requests that share calls, and with calls of their own",
        ("concurrency", "shared /s", "own /s", "/s ratio", "shared CPU ms", "own CPU ms", "failed"),
        [row(shared, own) for shared, own in by_concurrency],
        draw=lambda axes: draw(axes, by_concurrency),
        raw=[[[asdict(one) for one in way] for way in both] for both in by_concurrency],
    )


def content(way: str) -> dict[str, Any]:
    found = read_serve_file(CONFIG)
    if way == "own":
        found["applications"][0]["args"]["calls"]["max_requests_per_call"] = 1
    return found


def turns(content: dict[str, Any], seconds: float) -> list[Turn]:
    call = compare_call()
    with own_graph(content) as graph:
        turn(graph, call, 4, WARM_UP_S)
        time.sleep(SETTLING_S)
        return [turn(graph, call, concurrency, seconds) for concurrency in CONCURRENCIES]


def row(shared: Sequence[Turn], own: Sequence[Turn]) -> Sequence[object]:
    rates = [[one.rate for one in way] for way in (shared, own)]
    cpu = [median(sum(one.cpu_ms.values()) for one in way) for way in (shared, own)]
    return (
        shared[0].concurrency,
        *(f"{median(way):.1f}" for way in rates),
        f"{paired_ratio(*rates):.2f}",
        *(f"{ms:.0f}" for ms in cpu),
        sum(one.failed for one in (*shared, *own)),
    )


def draw(axes: Any, found: Sequence[Sequence[Sequence[Turn]]]) -> None:
    for index, way in enumerate(WAYS):
        rates = [median(one.rate for one in both[index]) for both in found]
        axes.plot([str(count) for count in CONCURRENCIES], rates, marker="o", label=way)
    axes.set_xlabel("requests at a time")
    axes.set_ylabel("comparisons/s")
    axes.set_ylim(bottom=0)
    axes.legend()


if __name__ == "__main__":
    main()
