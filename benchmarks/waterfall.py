"""Where the time of a lone comparison goes: python -m benchmarks.waterfall [--requests 200]

serve_config.yaml on a cluster of its own answers one /v1/compare of two 640-px photos of groups
after another. The answer's `timings` tell when each stage began and ended, the client when it sent
the request and had the answer. What lies between two stages is the calls: the ingress, Ray's
messages, and a replica's event loop. Every figure is the median over the requests, in milliseconds
from the moment that the request reached the graph; the client's part, before and after, is shown
as one step, as the two machines' clocks need not agree.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.harness.load import CONFIG, MS, Request, two_groups
from benchmarks.harness.results import report
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

WARM_UP = 20
COLUMNS = ("step", "from ms", "to ms", "takes ms")


@dataclass(frozen=True)
class Step:
    name: str
    start_ms: float
    end_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    with own_graph(read_serve_file(CONFIG)) as graph:
        answers = list(answered(graph.url, two_groups(), WARM_UP + options.requests))[WARM_UP:]
    found = medians([steps(answer, total_ms) for answer, total_ms in answers])
    report(
        "waterfall",
        f"A lone /v1/compare of two 640-px groups: {found[-1].end_ms:.1f} ms",
        COLUMNS,
        [row(step) for step in found],
        draw=lambda axes: draw(axes, found),
    )


def answered(url: str, request: Request, count: int) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Each answer, and the milliseconds until the client had it."""
    headers = {"Content-Type": request.content_type}
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(count):
            started = time.perf_counter()
            answer = client.post(request.path, content=request.body, headers=headers)
            took_ms = (time.perf_counter() - started) * MS
            yield answer.raise_for_status().json(), took_ms


def steps(answer: Mapping[str, Any], total_ms: float) -> list[Step]:
    """The stages by their start, each over all photos, with what lies between them."""
    spans: dict[str, tuple[float, float]] = {}
    for timing in answer["timings"]:
        start, end = timing["start_ms"], timing["start_ms"] + timing["duration_ms"]
        first, last = spans.get(timing["stage"], (start, end))
        spans[timing["stage"]] = min(first, start), max(last, end)
    found, reached = list[Step](), 0.0
    for name, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start > reached:
            found.append(Step(f"until {name}", reached, start))
        found.append(Step(name, start, end))
        reached = max(reached, end)
    found.append(Step("client, HAProxy, ingress's answer", reached, max(reached, total_ms)))
    return found


def medians(requests: Sequence[Sequence[Step]]) -> list[Step]:
    """The median request's steps; those that not every request has are left out."""
    names = [step.name for step in requests[0]]
    by_name = [{step.name: step for step in request} for request in requests]
    return [
        Step(
            name,
            statistics.median(request[name].start_ms for request in by_name),
            statistics.median(request[name].end_ms for request in by_name),
        )
        for name in names
        if all(name in request for request in by_name)
    ]


def row(step: Step) -> Sequence[object]:
    took = step.end_ms - step.start_ms
    return step.name, f"{step.start_ms:.1f}", f"{step.end_ms:.1f}", f"{took:.1f}"


def draw(axes: Any, found: Sequence[Step]) -> None:
    for place, step in enumerate(found):
        colour = "lightgrey" if " " in step.name else "tab:blue"
        axes.barh(place, step.end_ms - step.start_ms, left=step.start_ms, color=colour)
    axes.set_yticks(range(len(found)), [step.name for step in found])
    axes.invert_yaxis()
    axes.set_xlabel("ms since the request reached the graph; grey: between the stages")


if __name__ == "__main__":
    main()
