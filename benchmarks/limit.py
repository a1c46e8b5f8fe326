"""The graph's throughput as a share of its bare models': python -m benchmarks.limit

Comparisons of two 640-px photos, as /v1/compare does them with serve_config.yaml, in alternation:
`bare` runs in as many processes as there are cores, each of which decodes, detects, aligns, embeds
and compares, one comparison after the other, with the graph's own functions and models on one
thread, and nothing around them; `graph` answers over HTTP at concurrency 16. While one is measured
the other is stopped.

`share` is graph / bare, the median over the rounds: 1 would be a server without any cost. The
client that sends the requests runs on the same cores, so it is part of the graph's cost: `client
cores` is the number of cores that it used, and `share without client` is the graph's share of the
others.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import cv2
import httpx
import numpy as np

from benchmarks.harness.load import CONFIG, compare_request, measure, photo_640
from benchmarks.harness.pausing import PausableGraph, pausable_graph
from benchmarks.harness.results import paired_ratio, report
from configs.graph import GraphConfig
from deployments.aggregator.scoring import cosines
from deployments.contracts import ByteArray, Photo
from deployments.detector.crops import cut_crops
from deployments.detector.detector import DetectionRequest, detector_from
from deployments.detector.postprocess import choose
from deployments.images.alignment import align_crops
from deployments.images.decode import open_photo
from deployments.recognizer.recognizer import recognizer_from
from graph.cluster.serve_file import graph_config, read_serve_file

CONCURRENCY = 16
WARM_UP_S = 2.0
# Networks compiled for one chip and for several round differently, in bfloat16 by thousandths.
# Another face or another model would move a cosine by tenths.
TOLERANCE = 0.02
CORES = len(os.sched_getaffinity(0))
ONE_THREAD = {"threads": 1, "workers": 1}
PAIRS = {
    "gdp, players": ("gdp.jpg", "players.jpg"),
    "yaoming, players": ("yaoming.jpg", "players.jpg"),
}
Pair = tuple[bytes, bytes]  # the files of source and target


@dataclass(frozen=True)
class Round:
    """Comparisons per second; the client's CPU in cores."""

    bare: float
    graph: float
    client_cores: float
    failed: int

    @property
    def graph_alone(self) -> float:
        """The graph's rate on all cores, extrapolated from the cores that the client left."""
        return self.graph * CORES / (CORES - self.client_cores)


class Comparer:
    """The work of /v1/compare with the default recognizer, in plain calls on one thread."""

    def __init__(self, config: GraphConfig) -> None:
        cv2.setNumThreads(1)
        (pool, *_) = config.chosen_by_default
        self._limits = config.image_limits
        self._detector = detector_from(config.detector.model_copy(update=ONE_THREAD))
        self._recognizer = recognizer_from(config.recognizers[pool].model_copy(update=ONE_THREAD))

    def compare(self, pair: Pair) -> float:
        """The cosine of the largest faces."""
        chips = np.concatenate([*map(self._chip, pair)])
        source, target = self._recognizer.embed(chips).vectors
        return float(cosines(source, target[None])[0])

    def _chip(self, content: bytes) -> ByteArray:
        opened = open_photo(Photo("image", content), self._limits)
        side = self._detector.decoded_side(opened.width, opened.height, "largest")
        image = opened.decoded(lambda longer: side)
        request = DetectionRequest(image, "largest")
        [first] = self._detector.detect_first_pass([request])
        landmarks = choose(self._detector.detect_further(request, first), "largest").landmarks
        return align_crops(cut_crops(image, landmarks), landmarks)


class BareProcesses:
    """A process for each core, with models of its own."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, pair: Pair, seconds: float) -> tuple[float, float]:
        """Compare in all processes at the same time, each at least once.

        Returns the comparisons per second of all together, and the similarity.
        """
        tasks = [self._pool.submit(compare_for, pair, seconds) for _ in range(CORES)]
        rates, similarities = zip(*(task.result() for task in tasks), strict=True)
        return sum(rates), similarities[0]


class Worker:
    """A bare process's comparer; a class, because a pool's tasks share nothing but globals."""

    comparer: Comparer

    @classmethod
    def start(cls, config: GraphConfig) -> None:
        cls.comparer = Comparer(config)


def compare_for(pair: Pair, seconds: float) -> tuple[float, float]:
    """In a bare process: its comparisons per second, and the similarity."""
    count, began = 0, time.perf_counter()
    while True:
        similarity = Worker.comparer.compare(pair)
        count += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return count / took, similarity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8, help="of each turn")
    options = parser.parse_args()
    content = read_serve_file(CONFIG)
    with bare_processes(graph_config(content)) as bare, pausable_graph(content) as graph:
        rounds = {
            name: race(bare, graph, (photo_640(source), photo_640(target)), options)
            for name, (source, target) in PAIRS.items()
        }
    report_shares(rounds)


@contextmanager
def bare_processes(config: GraphConfig) -> Iterator[BareProcesses]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, spawn, initializer=Worker.start, initargs=(config,)) as pool:
        yield BareProcesses(pool)


def race(
    bare: BareProcesses, graph: PausableGraph, pair: Pair, options: argparse.Namespace
) -> list[Round]:
    """Rounds of both. Exits if their answers differ."""
    require_same_answer(bare, graph.url, pair)
    return [one_round(bare, graph, pair, options.seconds) for _ in range(options.rounds)]


def require_same_answer(bare: BareProcesses, url: str, pair: Pair) -> None:
    _, own = bare.run(pair, seconds=0)
    files = {"source": pair[0], "target": pair[1]}
    answer = httpx.post(f"{url}/v1/compare", files=files, timeout=60).raise_for_status()
    served = answer.json()["similarity"]
    if abs(own - served) > TOLERANCE:
        raise SystemExit(f"not the same work: {own} as bare calls, {served} by the graph")


def one_round(bare: BareProcesses, graph: PausableGraph, pair: Pair, seconds: float) -> Round:
    request = compare_request(*pair)
    with graph.paused():
        own, _ = bare.run(pair, seconds)
    measure(graph.url, request, concurrency=CONCURRENCY, seconds=WARM_UP_S)
    cpu = time.process_time()
    found = measure(graph.url, request, concurrency=CONCURRENCY, seconds=seconds)
    cores = (time.process_time() - cpu) / found.took_s
    return Round(own, found.rate, cores, found.failed)


def report_shares(rounds: dict[str, list[Round]]) -> None:
    columns = ("photos", "bare /s", "graph /s", "share", "client cores", "share without client")
    report(
        "limit",
        "Comparing two 640-px photos: bare calls, and the graph over HTTP",
        (*columns, "failed"),
        [row(name, found) for name, found in rounds.items()],
        draw=lambda axes: draw(axes, rounds),
        raw={name: [asdict(one) for one in found] for name, found in rounds.items()},
    )


def row(name: str, found: Sequence[Round]) -> Sequence[object]:
    bare, graph = [one.bare for one in found], [one.graph for one in found]
    alone = [one.graph_alone for one in found]
    return (
        name,
        f"{median(bare):.1f}",
        f"{median(graph):.1f}",
        f"{paired_ratio(graph, bare):.2f}",
        f"{median(one.client_cores for one in found):.2f}",
        f"{paired_ratio(alone, bare):.2f}",
        sum(one.failed for one in found),
    )


def draw(axes: Any, rounds: dict[str, list[Round]]) -> None:
    """Two bars for each pair of photos, a dot for each round."""
    for offset, side in ((-0.2, "bare"), (0.2, "graph")):
        places = [place + offset for place in range(len(rounds))]
        values = [[getattr(one, side) for one in found] for found in rounds.values()]
        axes.bar(places, [median(some) for some in values], width=0.38, label=side)
        for place, some in zip(places, values, strict=True):
            axes.plot([place] * len(some), some, "k.", markersize=4)
    axes.set_xticks(range(len(rounds)), list(rounds))
    axes.set_ylabel("comparisons/s")
    axes.legend()


if __name__ == "__main__":
    main()
