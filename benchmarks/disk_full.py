"""Answers while the disk of Ray's files is full: python -m benchmarks.disk_full

serve_config.yaml on a cluster of its own whose folder, with the logs, HAProxy's files and the
object store's spilled objects, is on a file system of 256 MiB. Under steady load the file system is
filled to the last byte, replicas are killed meanwhile, and then there is room again. The
photos of half of the comparisons travel through the object store, which has so little memory that
it spills them.

The file system is a tmpfs in a namespace of this process (`unshare`, of util-linux), which needs no
rights of root where the kernel lets users make namespaces.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness.load import (
    CONFIG,
    MS,
    compare_request,
    connection,
    cycled,
    two_groups,
    with_answers,
)
from benchmarks.harness.results import report
from graph.cluster.launch import RunningGraph, own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.faults import one_replica, replaced
from tests.support.load import Load, Sent
from tests.support.photos import photo

CLIENTS = 16
PHASE_S = 15.0
TIMEOUT_S = 90.0
DISK_MIB = 256
STORE_BYTES = 80 * 2**20  # Ray takes no less than 75 MiB
COLUMNS = ("phase", "sent", "failed", "refused", "wrong", "p50 ms", "longest ms", "free MiB")
KILLED = ("Ingress", "Detector")
INSIDE = "FACEGRAPH_DISK"


class DiskFull:
    """The phases of the benchmark, and the requests sent in each."""

    def __init__(self, graph: RunningGraph, load: Load, folder: Path) -> None:
        self._graph = graph
        self._load = load
        self._filling = folder / "filling"
        self.rows: list[tuple[object, ...]] = []
        self.failures: Counter[str] = Counter()

    async def run(self) -> None:
        await self._phase("room")
        fill(self._filling)
        await self._phase("full")
        killed = {name: one_replica(name, self._graph.app_name) for name in KILLED}
        for name, replica in killed.items():
            replica.kill()
            await self._phase(f"full, {name} killed")
        self._filling.unlink()
        await self._phase("room again")
        for name, replica in killed.items():
            await replaced(replica, name, self._graph.app_name, within_s=TIMEOUT_S)
        await self._phase("all replaced")

    async def _phase(self, name: str) -> None:
        began = time.perf_counter()
        await asyncio.sleep(PHASE_S)
        sent = [one for one in self._load.sent if one.ended > began]
        failures = Counter(one.outcome.failure[:90] for one in sent if one.outcome.failure)
        self.failures += failures
        self.rows.append((name, *figures(sent), f"{free_mib(self._filling.parent):.1f}"))
        print(*self.rows[-1], dict(failures), flush=True)

    def draw(self, axes: Any) -> None:
        sent = self._load.sent
        axes.plot([one.ended - sent[0].began for one in sent], [one.latency_s for one in sent], ".")
        axes.set(xlabel="s", ylabel="s until the answer")


def figures(sent: Sequence[Sent]) -> tuple[object, ...]:
    """Sent, failed, refused, wrong; p50 and longest of those answered, in ms."""
    outcomes = [one.outcome for one in sent]
    latencies = [one.latency_s for one in sent if one.outcome.status == 200] or [0.0]
    refused = sum(one.status == 503 and one.retry_after is not None for one in outcomes)
    failed = sum(one.status != 200 for one in outcomes) - refused
    wrong = sum(one.right is False for one in outcomes)
    p50, longest = np.percentile(latencies, [50, 100]) * MS
    return len(sent), failed, refused, wrong, f"{p50:.0f}", f"{longest:.0f}"


def fill(file: Path) -> None:
    """Write until the file system has no byte left."""
    try:
        with file.open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(4096))
    except OSError:
        return


def free_mib(folder: Path) -> float:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize / 2**20


def large_photo(name: str) -> bytes:
    """A bundled photo as a JPEG of over 5 MB, by noise that changes no face."""
    pixels = cv2.resize(photo(name), (4800, 3200), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 12, pixels.shape)
    noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


async def under_load(graph: RunningGraph, folder: Path) -> DiskFull:
    large = compare_request(large_photo("gdp.jpg"), large_photo("players.jpg"))
    requests = await with_answers(graph.url, [two_groups(), large])
    async with connection(graph.url, CLIENTS) as post:
        load = cycled(post, requests)
        disk = DiskFull(graph, load, folder)
        running = asyncio.create_task(load.run(CLIENTS))
        await disk.run()
        load.end()
        await running
    return disk


def main() -> None:
    if INSIDE in os.environ:
        measure(Path(os.environ[INSIDE]))
        return
    folder = tempfile.mkdtemp(prefix="full-", dir="/tmp")
    mount = f'mount -t tmpfs -o size={DISK_MIB}m tmpfs {folder} && exec "$@"'
    again = ["sh", "-c", mount, "sh", sys.executable, "-m", "benchmarks.disk_full"]
    environment = os.environ | {INSIDE: folder, "TMPDIR": folder}
    done = subprocess.run(["unshare", "-Urm", *again], env=environment, check=False)
    os.rmdir(folder)
    raise SystemExit(done.returncode)


def measure(folder: Path) -> None:
    with own_graph(read_serve_file(CONFIG), object_store_memory=STORE_BYTES) as graph:
        disk = asyncio.run(under_load(graph, folder))
    title = f"/v1/compare by {CLIENTS} clients while the disk is full"
    report("disk_full", title, COLUMNS, disk.rows, draw=disk.draw, raw=disk.failures)


if __name__ == "__main__":
    main()
