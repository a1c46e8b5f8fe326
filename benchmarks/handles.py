"""Who held which bytes of a request, and of a group of requests: python -m benchmarks.handles

Compares two 640-px photos of groups, by serve_config.yaml with a fixed number of replicas: one
request, and as many at once as may share their calls. Meanwhile every process of the cluster is
asked for the objects that it refers to, as often as it answers. A row is an object with a size: Ray
tells none for those that travel in its messages, which are counted in the last rows. `pinned` are
the processes that had the object's bytes as an argument, `referred` those with a reference alone.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

from benchmarks.harness.load import CONFIG, connection, two_groups
from benchmarks.harness.processes import descendants
from benchmarks.harness.results import draw_bars, report
from benchmarks.harness.turns import place_of, turn
from benchmarks.paired import fixed
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.held_objects import Held, objects_during

WARM_UP_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", type=int, default=16, help="requests at once")
    options = parser.parse_args()
    request = two_groups()
    content = fixed(read_serve_file(CONFIG))
    with own_graph(content) as graph:
        turn(graph, request, 4, WARM_UP_S)
        time.sleep(WARM_UP_S)

        async def send(many: int) -> None:
            async with connection(graph.url, many) as post:
                await asyncio.gather(*(post(request) for _ in range(many)))

        found = {
            name: asyncio.run(objects_during(partial(send, many), place))
            for name, many in (("one request", 1), (f"{options.group} requests", options.group))
        }
    report_held(found)


def place(pid: int) -> str:
    places = {process.pid: place_of(process) for process in descendants(os.getpid())}
    return places.get(pid, "driver")


def report_held(found: Mapping[str, Sequence[Held]]) -> None:
    rows: list[tuple[object, ...]] = []
    for name, objects in found.items():
        stored = [one for one in objects if one.size > 0]
        for one in stored:
            short = f"{one.name[:8]}...{one.name[-8:]}"
            rows.append((name, short, one.size, names(one.pinned), names(one.referred)))
        rest = len(objects) - len(stored)
        rows.append((name, f"{rest} in messages", "", "", ""))
    bars = [(f"{row[0]}, {row[1]}", float(row[2])) for row in rows if isinstance(row[2], int)]
    report(
        "handles",
        "Objects of a comparison's calls",
        ("requests", "object", "bytes", "pinned", "referred"),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "bytes, by object"),
        raw={
            name: [
                asdict(one) | {"pinned": sorted(one.pinned), "referred": sorted(one.referred)}
                for one in objects
            ]
            for name, objects in found.items()
        },
    )


def names(places: set[str]) -> str:
    return ", ".join(sorted(places)) or "-"


if __name__ == "__main__":
    main()
