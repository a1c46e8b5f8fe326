"""This checkout's graph and another one's, in turns: python -m benchmarks.paired OTHER_CHECKOUT

Each round starts both graphs, one after the other, with serve_config.yaml of its checkout at a
fixed number of replicas, and compares two bundled photos, by default of groups and at 640 px, at
each concurrency. The order changes from round to round. A ratio is this checkout's figure divided
by the other's in the same round, the median over the rounds. CPU is of all processes, the client's
included, in milliseconds of one core for a request. Client and graph share the machine's cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.load import CONFIG, compare_request, resized_photo
from benchmarks.harness.results import draw_bars, report
from benchmarks.harness.turns import turn
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

THIS = Path(__file__).parents[1]
GROUPS = ("gdp.jpg", "players.jpg")
WARM_UP_S, SETTLING_S = 5.0, 2.0
Turns = Sequence[Mapping[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="a checkout with its own .venv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--photos", nargs=2, default=GROUPS, help="bundled photos to compare")
    parser.add_argument("--side", type=int, default=640, help="the photos' longer side, in pixels")
    parser.add_argument("--results", default="paired", help="file in benchmarks/results")
    parser.add_argument("--turns", type=Path, help="measure the imported graph alone, into a file")
    options = parser.parse_args()
    if options.turns:
        options.turns.write_text(json.dumps(measured(options)))
        return
    report_pairs([round_of(options, number) for number in range(options.rounds)], options)


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A turn at each concurrency."""
    request = compare_request(*(resized_photo(name, options.side) for name in options.photos))
    with own_graph(fixed(read_serve_file(CONFIG))) as graph:
        turn(graph, request, 8, WARM_UP_S)
        time.sleep(SETTLING_S)
        return [asdict(turn(graph, request, many, options.seconds)) for many in options.concurrency]


def fixed(content: dict[str, Any]) -> dict[str, Any]:
    """The configuration with as many replicas as it has at least."""
    (application,) = content["applications"]
    application["autoscaling_policy"] = None
    for deployment in application["deployments"]:
        scaling = deployment.pop("autoscaling_config", None) or {}
        deployment["num_replicas"] = scaling.get("min_replicas", 1)
    return content


def round_of(options: argparse.Namespace, number: int) -> tuple[Turns, Turns]:
    """This checkout's turns and the other's."""
    checkouts = [THIS, options.other.resolve()]
    found = {
        checkout: in_checkout(checkout, options)
        for checkout in (checkouts if number % 2 == 0 else reversed(checkouts))
    }
    return found[checkouts[0]], found[checkouts[1]]


def in_checkout(checkout: Path, options: argparse.Namespace) -> Turns:
    """The turns of a checkout, by this file and the checkout's own code."""
    file = THIS / "benchmarks" / "results" / ".turns.json"
    python = str(checkout / ".venv/bin/python")
    command = [python, "-P", str(Path(__file__).resolve()), "--turns", str(file)]
    many = [str(one) for one in options.concurrency]
    photos = ["--photos", *options.photos, "--side", str(options.side)]
    subprocess.run(
        [*command, *photos, "--seconds", str(options.seconds), "--concurrency", *many],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=sys.stderr,
        check=True,
    )
    turns: Turns = json.loads(file.read_text())
    file.unlink()
    return turns


def report_pairs(rounds: Sequence[tuple[Turns, Turns]], options: argparse.Namespace) -> None:
    columns = ("concurrency", "/s", "other /s", "/s ratio", "p50 ms", "other p50 ms")
    report(
        options.results,
        f"This checkout and another, {' and '.join(options.photos)} at {options.side} px,"
        f" {len(rounds)} rounds",
        (*columns, "CPU ms", "other CPU ms", "CPU ratio", "failed"),
        [
            row([(own[index], other[index]) for own, other in rounds])
            for index in range(len(options.concurrency))
        ],
        draw=lambda axes: draw_bars(axes, bars(rounds), "comparisons/s, by round"),
        raw=[{"this": own, "other": other} for own, other in rounds],
    )


def bars(rounds: Sequence[tuple[Turns, Turns]]) -> list[tuple[str, float]]:
    return [
        (f"{name}, {one['concurrency']} at once", rate(one))
        for both in rounds
        for name, turns in zip(("this", "other"), both, strict=True)
        for one in turns
    ]


def row(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Sequence[object]:
    def both(figure: Any, places: int) -> list[str]:
        return [f"{median(figure(one[side]) for one in pairs):.{places}f}" for side in (0, 1)]

    def ratio(figure: Any) -> str:
        return f"{median(figure(own) / figure(other) for own, other in pairs):.2f}"

    return (
        pairs[0][0]["concurrency"],
        *both(rate, 1),
        ratio(rate),
        *both(lambda one: one["p50_ms"], 1),
        *both(cpu_ms, 1),
        ratio(cpu_ms),
        sum(one["failed"] for pair in pairs for one in pair),
    )


def rate(one: Mapping[str, Any]) -> float:
    return float(one["rate"])


def cpu_ms(one: Mapping[str, Any]) -> float:
    return float(sum(one["cpu_ms"].values()))


if __name__ == "__main__":
    main()
