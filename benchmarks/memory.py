"""Memory of the ingress and the detector under clients that want it: python -m benchmarks.memory

serve_config.yaml on a cluster of its own, one replica of each stage and two of the ingress:
- bodies that no route takes: 32 of 60 MB on /readyz while the detector is stopped;
- stalled uploads: 200 photos of 12 MB that stop just before their end;
- damaged files: 200 of 12 MB;
- large photos: 64 of 50 megapixels and one colour, then 64 files of 10 MB in forms.

`own` is the peak of a replica's own memory in MiB (RssAnon), `shared` that of the object store's
pages that it has read or written (RssShmem), which all processes share.
"""

import argparse
import asyncio
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import httpx
import numpy as np

from benchmarks.harness.load import CONFIG
from benchmarks.harness.processes import descendants
from benchmarks.harness.results import draw_bars, report
from graph.cluster.launch import RunningGraph, own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.faults import one_replica
from tests.support.fuzzing.images import one_colour

WATCHED = ("Ingress", "Detector")
POLL_S = 0.05
KIB = 1024
MEBI = KIB * KIB
UPLOAD = (
    b"POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\n"
    b"content-length: 12000000\r\n\r\n"
)
COLUMNS = ("attack", "replica", "before", "own", "shared", "after", "answers")


@dataclass(frozen=True)
class Peak:
    """MiB of one replica: its own memory before, at its peak and after it; shared pages' peak."""

    replica: str
    before: float
    own: float
    shared: float
    after: float


async def bodies_for_no_route(graph: RunningGraph) -> Counter[str]:
    with one_replica("Detector", graph.app_name).stopped():
        head = b"GET /readyz HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (60 * MEBI)
        return await _together(32, lambda: _written(graph.url, head, 60 * MEBI))


async def stalled_uploads(graph: RunningGraph) -> Counter[str]:
    return await _together(200, lambda: _written(graph.url, UPLOAD, 11_900_000))


async def damaged_files(graph: RunningGraph) -> Counter[str]:
    return await _together(200, lambda: _written(graph.url, UPLOAD, 12_000_000))


async def large_photos(graph: RunningGraph) -> Counter[str]:
    picture = one_colour(Random(1), 50, rgb=True)
    return await _posted(graph.url, content=picture, headers={"content-type": "image/png"})


async def large_files(graph: RunningGraph) -> Counter[str]:
    noise = np.random.default_rng(0).integers(0, 255, (2600, 3400, 3), dtype=np.uint8)
    photo = cv2.imencode(".jpg", noise)[1].tobytes()
    return await _posted(graph.url, files={"image": ("a.jpg", photo, "image/jpeg")})


ATTACKS: dict[str, Callable[[RunningGraph], Coroutine[Any, Any, Counter[str]]]] = {
    "bodies on /readyz": bodies_for_no_route,
    "stalled uploads": stalled_uploads,
    "damaged files of 12 MB": damaged_files,
    "photos of 50 megapixels": large_photos,
    "files of 10 MB": large_files,
}


async def _together(count: int, send: Callable[[], Awaitable[str]]) -> Counter[str]:
    return Counter(await asyncio.gather(*(send() for _ in range(count))))


async def _posted(url: str, **request: Any) -> Counter[str]:
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=90, limits=limits) as client:

        async def send() -> str:
            try:
                return str((await client.post("/v1/detect", **request)).status_code)
            except httpx.HTTPError as error:
                return type(error).__name__

        return await _together(64, send)


async def _written(url: str, head: bytes, size: int) -> str:
    """The status that answers a head and so many bytes; or the error."""
    parsed = httpx.URL(url)
    reader, writer = await asyncio.open_connection(parsed.host, parsed.port)
    try:
        writer.write(head)
        with suppress(ConnectionError):  # answered before the last byte
            for at in range(0, size, MEBI):
                writer.write(bytes(min(size - at, MEBI)))
                await writer.drain()
        return (await asyncio.wait_for(reader.readline(), 90)).decode().split()[1]
    except (OSError, asyncio.TimeoutError, IndexError) as error:
        return type(error).__name__
    finally:
        writer.close()


@contextmanager
def watched(peaks: list[Peak]) -> Iterator[None]:
    """Add the peaks of the replicas during the block."""
    names = {item.pid: item.title for item in descendants(os.getpid()) if item.title in WATCHED}
    before = {pid: _own_and_shared(pid) for pid in names}
    highest, ended = dict(before), threading.Event()

    def look() -> None:
        while not ended.wait(POLL_S):
            for pid, (own, shared) in highest.items():
                now = _own_and_shared(pid)
                highest[pid] = max(own, now[0]), max(shared, now[1])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    for pid, name in names.items():
        peaks.append(Peak(name, before[pid][0], *highest[pid], _own_and_shared(pid)[0]))


def _own_and_shared(pid: int) -> tuple[float, float]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    own, shared = (int(values[key].split()[0]) / KIB for key in ("RssAnon", "RssShmem"))
    return own, shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    content = read_serve_file(parser.parse_args().config)
    for deployment in content["applications"][0]["deployments"]:
        if deployment["name"] != "Ingress":
            deployment["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": 1}
    rows, bars = [], []
    with own_graph(content) as graph:
        for name, attack in ATTACKS.items():
            peaks: list[Peak] = []
            with watched(peaks):
                answers = asyncio.run(attack(graph))
            bars += [(f"{name}: {peak.replica}", peak.own) for peak in peaks]
            rows += [(name, *_columns(peak), str(dict(answers))) for peak in peaks]
            print(*rows[-len(peaks) :], sep="\n", flush=True)
    title = "Memory of the ingress and the detector under attack"
    report("memory", title, COLUMNS, rows, draw=lambda axes: draw_bars(axes, bars, "MiB, own"))


def _columns(peak: Peak) -> tuple[str, ...]:
    figures = (peak.before, peak.own, peak.shared, peak.after)
    return peak.replica, *(f"{value:.0f}" for value in figures)


if __name__ == "__main__":
    main()
