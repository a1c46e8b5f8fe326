"""The cost of large photos, the graph beside a plain server: python -m benchmarks.photo_size

/v1/compare of two JPEGs of 0.3 to 24 megapixels, the sizes of phones and cameras, by
serve_config.yaml on a cluster of its own and by benchmarks/peers/plain.py, one client and then 16
of them, in alternation; while one server is measured the other is stopped. Against 16 clients the
plain server runs each network call on one thread, because the calls fill the cores. Against one
client it runs each on `--latency-threads`: by default half of the cores, so that each of the two
photos has a worker, which was its fastest setting on two cores.

Read `/s ratio`, graph / plain, at concurrency 16: more is better; and `p50 ratio` at concurrency 1:
less is better. Both are medians over the rounds, of figures measured next to each other. Client
and servers share the machine's cores.
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np

from benchmarks.harness.load import CONFIG, Measured, Request, compare_request, measure
from benchmarks.harness.pausing import PausableGraph, pausable_graph
from benchmarks.harness.results import paired_ratio, report
from benchmarks.peers.process import Peer, running_peer
from deployments.contracts import Photo
from deployments.images.decode import read_photo
from graph.bundled import bundled_photo
from graph.cluster.serve_file import graph_config, read_serve_file

MEGAPIXELS = (0.3, 3.0, 12.0, 24.0)
PHOTOS = ("gdp.jpg", "players.jpg")
QUALITY = 90
# Standard deviation of noise that makes an enlarged photo's file as large as a camera's.
NOISE = 8.0
ONE, MANY = 1, 16
LATENCY_THREADS = max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class Case:
    """A comparison of two photos of one size."""

    megapixels: float
    file_mb: float
    bytes_per_pixel: float
    request: Request


@dataclass(frozen=True)
class Duel:
    """Turns of the graph and of the plain server, measured in pairs."""

    case: Case
    concurrency: int
    graph: list[Measured]
    plain: list[Measured]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each turn, at least")
    parser.add_argument("--latency-threads", type=int, default=LATENCY_THREADS)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    options = parser.parse_args()
    report_duels(duels([case_of(size) for size in options.megapixels], options))


def case_of(megapixels: float) -> Case:
    files = [enlarged(name, megapixels) for name in PHOTOS]
    size = sum(map(len, files)) / len(files)
    return Case(megapixels, size / 1e6, size / (megapixels * 1e6), compare_request(*files))


def enlarged(name: str, megapixels: float) -> bytes:
    """A bundled photo as a JPEG of this size. Raises ImageTooLarge over the graph's limit."""
    limits = graph_config(read_serve_file(CONFIG)).image_limits
    photo = read_photo(Photo(name, bundled_photo(name).read_bytes()), limits)
    scale = (megapixels * 1e6 / (photo.shape[0] * photo.shape[1])) ** 0.5
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=interpolation)
    if scale > 1:
        noise = np.random.default_rng(0).standard_normal(resized.shape, np.float32)
        resized = np.clip(resized + NOISE * noise, 0, 255).astype(np.uint8)
    content = bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
    read_photo(Photo(name, content), limits)
    return content


def duels(cases: Sequence[Case], options: argparse.Namespace) -> list[Duel]:
    threads = {ONE: options.latency_threads, MANY: 1}
    with ExitStack() as stack:
        graph = stack.enter_context(pausable_graph(read_serve_file(CONFIG)))
        plain = {
            count: stack.enter_context(running_peer(plain_peer(count)))
            for count in set(threads.values())
        }
        return [
            duel(case, concurrency, graph, plain[count], options)
            for case in cases
            for concurrency, count in threads.items()
        ]


def plain_peer(threads: int) -> Peer:
    return Peer(f"plain, {threads} threads", "plain", ("--threads", str(threads)))


def duel(
    case: Case, concurrency: int, graph: PausableGraph, plain: str, options: argparse.Namespace
) -> Duel:
    found = Duel(case, concurrency, [], [])
    for url in (graph.url, plain):
        turn(url, case, concurrency, seconds=0)  # warm-up
    for _ in range(options.rounds):
        found.graph.append(turn(graph.url, case, concurrency, options.seconds))
        with graph.paused():
            found.plain.append(turn(plain, case, concurrency, options.seconds))
    return found


def turn(url: str, case: Case, concurrency: int, seconds: float) -> Measured:
    return measure(url, case.request, concurrency=concurrency, seconds=seconds)


def report_duels(found: Sequence[Duel]) -> None:
    columns = ("megapixels", "MB a file", "bytes/pixel", "concurrency", "graph /s", "plain /s")
    report(
        "photo_size",
        "/v1/compare of two JPEGs by their size, the graph and a plain server",
        (*columns, "/s ratio", "graph p50 ms", "plain p50 ms", "p50 ratio", "failed"),
        [row(one) for one in found],
        draw=lambda axes: draw(axes, found),
        raw=[raw(one) for one in found],
    )


def row(one: Duel) -> Sequence[object]:
    case = one.case
    rates, waits = rates_of(one), waits_of(one)
    return (
        f"{case.megapixels:g}",
        f"{case.file_mb:.2f}",
        f"{case.bytes_per_pixel:.2f}",
        one.concurrency,
        *(f"{median(side):.2f}" for side in rates),
        f"{paired_ratio(*rates):.2f}",
        *(f"{median(side):.0f}" for side in waits),
        f"{paired_ratio(*waits):.2f}",
        sum(turn.failed for turn in (*one.graph, *one.plain)),
    )


def rates_of(one: Duel) -> tuple[list[float], list[float]]:
    return [turn.rate for turn in one.graph], [turn.rate for turn in one.plain]


def waits_of(one: Duel) -> tuple[list[float], list[float]]:
    return [turn.p50_ms for turn in one.graph], [turn.p50_ms for turn in one.plain]


def raw(one: Duel) -> dict[str, object]:
    return {
        "megapixels": one.case.megapixels,
        "concurrency": one.concurrency,
        "graph": [asdict(turn) for turn in one.graph],
        "plain": [asdict(turn) for turn in one.plain],
    }


def draw(axes: Any, found: Sequence[Duel]) -> None:
    """Comparisons per second over megapixels, both logarithmic."""
    for concurrency, style in ((ONE, "--"), (MANY, "-")):
        some = [one for one in found if one.concurrency == concurrency]
        sizes = [one.case.megapixels for one in some]
        for name, side, colour in (("graph", 0, "C0"), ("plain", 1, "C1")):
            rates = [median(rates_of(one)[side]) for one in some]
            axes.plot(sizes, rates, f"{colour}{style}o", label=f"{name}, concurrency {concurrency}")
    sizes = sorted({one.case.megapixels for one in found})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("megapixels of each photo")
    axes.set_ylabel("comparisons/s")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
