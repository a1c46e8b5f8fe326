"""Whether memory stays where it is: python -m benchmarks.soak [--requests 20000]

serve_config.yaml on a cluster of its own answers a mixture of detections, embeddings and
comparisons of small photos at concurrency 16, without a pause. Every few seconds the RSS of every
process of the cluster is read, and how much of the object store is taken. `growth` compares the
median of the last quarter of the samples with that of the first one; what is allocated once, as the
first requests come, is over before the first sample. Answers are held against those of the same
graph at rest.
"""

import argparse
import asyncio
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import cv2
import numpy as np
import ray

from benchmarks.footprint import descendants, memory_of
from benchmarks.harness.load import CONFIG, multipart
from benchmarks.harness.results import report
from graph.bundled import bundled_photo
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.ray_private import get_memory_info_reply, get_state_from_address

CONCURRENCY = 16
LONGER_SIDE = 240
WARM_UP = 500
SAMPLE_S = 5.0
MIB = 2**20
TOLERANCE = 0.02


@dataclass(frozen=True)
class Question:
    path: str
    body: bytes
    content_type: str
    right: Any = None

    def summary(self, answer: Any) -> list[float]:
        """Numbers that tell an answer from that of another question."""
        if self.path == "detect":
            return [float(len(answer["faces"])), *answer["faces"][0]["box"]]
        if self.path == "embed":
            (embedding,) = answer["faces"][0]["embeddings"].values()
            return list(embedding["embedding"][:8])
        return [answer["similarity"], *answer["target"]["box"]]

    def is_answered_by(self, answer: Any) -> bool:
        tolerance = TOLERANCE if self.path == "embed" else 1.0
        return bool(np.allclose(self.summary(answer), self.right, atol=tolerance))


@dataclass(frozen=True)
class Sample:
    """Seconds and requests since the beginning; MiB by process, and of the object store."""

    at_s: float
    requests: int
    rss: dict[str, float]
    store: float


def small(name: str) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(bundled_photo(name).read_bytes(), np.uint8), 1)
    assert pixels is not None
    scale = LONGER_SIDE / max(pixels.shape[:2])
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


async def questions(session: aiohttp.ClientSession, url: str) -> list[Question]:
    """With their answers from the graph at rest."""
    man, group = small("yaoming.jpg"), small("gdp.jpg")
    asked = [
        Question("detect", *multipart({"image": group})),
        Question("embed", *multipart({"image": man})),
        Question("embed", *multipart({"image": group})),
        Question("compare", *multipart({"source": man, "target": man})),
        Question("compare", *multipart({"source": group, "target": man})),
    ]
    return [
        Question(one.path, one.body, one.content_type, one.summary(await ask(session, url, one)))
        for one in asked
    ]


async def ask(session: aiohttp.ClientSession, url: str, question: Question) -> Any:
    """The answer's JSON; raises for any status but 200."""
    headers = {"content-type": question.content_type}
    path = f"{url}/v1/{question.path}"
    async with session.post(path, data=question.body, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()


class Soak:
    def __init__(self, url: str, *, requests: int, minutes: float) -> None:
        self._url = url
        self._requests = requests
        self._until = time.perf_counter() + 60 * minutes
        self._turns = count()
        self.sent = 0
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> list[Sample]:
        timeout = aiohttp.ClientTimeout(total=120)
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            asked = await questions(session, self._url)
            clients = [
                asyncio.create_task(self._client(session, asked)) for _ in range(CONCURRENCY)
            ]
            sampling = asyncio.create_task(self._sample())
            await asyncio.gather(*clients)
            sampling.cancel()
            return await sampling

    async def _client(self, session: aiohttp.ClientSession, asked: Sequence[Question]) -> None:
        for turn in self._turns:
            if turn >= self._requests or time.perf_counter() >= self._until:
                return
            self.outcomes[await self._outcome(session, asked[turn % len(asked)])] += 1
            self.sent += 1

    async def _outcome(self, session: aiohttp.ClientSession, question: Question) -> str:
        try:
            answer = await ask(session, self._url, question)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return f"failed: {getattr(error, 'status', type(error).__name__)}"
        return "right" if question.is_answered_by(answer) else "wrong"

    async def _sample(self) -> list[Sample]:
        samples: list[Sample] = []
        began = time.perf_counter()
        try:
            while True:
                await asyncio.sleep(SAMPLE_S)
                if self.sent < WARM_UP:
                    continue
                rss, store = await asyncio.to_thread(lambda: (processes(), object_store()))
                samples.append(Sample(time.perf_counter() - began, self.sent, rss, store))
        except asyncio.CancelledError:
            return samples


def processes() -> dict[str, float]:
    """RSS in MiB of the cluster's processes, those of a name added up."""
    found: dict[str, float] = defaultdict(float)
    for process in descendants(os.getpid()):
        memory = memory_of(process.pid)
        if memory:
            found[process.title] += memory.rss_mib
    return dict(found)


def object_store() -> float:
    """MiB taken on this cluster's one node."""
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return float(get_memory_info_reply(state).store_stats.object_store_bytes_used) / MIB


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last quarter."""
    length = max(1, len(values) // 4)
    return median(values[:length]), median(values[-length:])


def rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    names = [name for name in samples[-1].rss if all(name in one.rss for one in samples)]
    series = {name: [one.rss[name] for one in samples] for name in names}
    series["all processes"] = [sum(one.rss.values()) for one in samples]
    series["object store"] = [one.store for one in samples]
    found: list[tuple[object, ...]] = []
    for name, values in series.items():
        first, last = quarters(values)
        growth = f"{(last / first - 1) * 100:+.1f} %" if first else f"{last - first:+.1f} MiB"
        found.append((name, f"{first:.1f}", f"{last:.1f}", growth, f"{max(values):.1f}"))
    return found


def show(samples: Sequence[Sample], outcomes: Counter[str]) -> None:
    def draw(axes: Any) -> None:
        requests = [one.requests for one in samples]
        for name in samples[-1].rss:
            axes.plot(requests, [one.rss.get(name) for one in samples], lw=1, label=name)
        axes.plot(requests, [one.store for one in samples], "k--", lw=1, label="object store")
        axes.set(xlabel="requests", ylabel="MiB", ylim=(0, None))
        axes.legend(fontsize=6, ncol=2)

    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    title = f"RSS in MiB over {outcomes.total()} requests ({counted})"
    columns = ("process", "first quarter", "last quarter", "growth", "most")
    raw = [{"requests": one.requests, "rss": one.rss, "store": one.store} for one in samples]
    report("soak", title, columns, rows(samples), draw=draw, raw=raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most")
    options = parser.parse_args()
    with own_graph(read_serve_file(options.config)) as graph:
        soak = Soak(graph.url, requests=options.requests, minutes=options.minutes)
        samples = asyncio.run(soak.run())
    show(samples, soak.outcomes)


if __name__ == "__main__":
    main()
