"""A gallery's search, import and deletion: python -m benchmarks.gallery [--faces 10000,100000].

The gallery is the gallery stage's store in an embedded PostgreSQL, called without Ray. Persons are
made up, with four faces each: `identities` in tests/support/galleries.py gives their distribution.
Each probe is a fifth face of a person. Beside it, the same probes in the memory of this process:
all cosines by numpy, and by faiss (flat, and its HNSW graph of 32 neighbours, with efSearch 128).

A million faces need 5 GB of memory, 7 GB of disk under TMPDIR, and some minutes:

    make bench-gallery ARGS="--faces 1000000 --probes 100 --deletions 2 --results gallery_million"

`--deepface PYTHON` adds DeepFace's own searches, each of as many probes as fit into a minute, by an
interpreter that has DeepFace: see benchmarks/peers/deepface_search.py.

Columns: faces; method; seconds to build (the import, or the index); milliseconds of one search
after another, median and 95th percentile; searches/s of 16 at a time; recall: probes whose first
person is that of all cosines.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness.results import draw_bars, report
from benchmarks.peers import deepface_search
from configs.gallery import EmbeddedServerConfig, GalleryConfig
from deployments.contracts import EMBEDDING_SIZE, Embeddings, FloatArray
from deployments.gallery.contracts import GallerySettings, SearchQuery
from deployments.gallery.database import Connection, Database
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from deployments.gallery.store import Store
from tests.support.galleries import identities

KEY, GALLERY, RECOGNIZER, VERSION = "bench", "bench", "arcface", "bench"
FACES_EACH, PROBES, AT_A_TIME, DELETIONS = 4, 300, 16, 5
_PERSONS_MADE_AT_A_TIME = 25_000
_CALL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """found: the first person of each probe."""

    method: str
    build_s: float
    median_ms: float
    p95_ms: float
    per_s: float | None
    found: list[int]


@dataclass(frozen=True)
class Written:
    """import_per_s: faces imported a second. disk_mb: of the tables and their indexes, in MiB.
    deletion_ms: a person's deletion, purged."""

    import_per_s: float
    disk_mb: float
    deletion_ms: float


def made_up(count: int, probes: int = PROBES) -> tuple[FloatArray, FloatArray]:
    """Faces float32 [count,512], a person's four in a row, and a fifth of the first persons, of at
    most _PERSONS_MADE_AT_A_TIME."""
    persons = count // FACES_EACH
    stored = np.empty((persons, FACES_EACH, EMBEDDING_SIZE), np.float32)
    fifth = np.empty((0, EMBEDDING_SIZE), np.float32)
    for start in range(0, persons, _PERSONS_MADE_AT_A_TIME):
        made = min(_PERSONS_MADE_AT_A_TIME, persons - start)
        part = identities(made, faces=FACES_EACH + 1, seed=start)
        stored[start : start + made] = part[:, :FACES_EACH]
        if not start:
            fifth = part[:probes, FACES_EACH].copy()
    return stored.reshape(-1, EMBEDDING_SIZE), fifth


def calls(faces: FloatArray) -> Iterator[bytes]:
    """The lines of an import, as many as one call takes."""
    lines, size = list[str](), 0
    for person, own in enumerate(faces.reshape(-1, FACES_EACH, faces.shape[-1])):
        entries = [
            {"id": f"{person}-{number}", "embedding": b64encode(face.tobytes()).decode()}
            for number, face in enumerate(own)
        ]
        lines.append(json.dumps({"person": str(person), "faces": entries}))
        size += len(lines[-1])
        if size > _CALL_BYTES:
            yield "\n".join(lines).encode()
            lines, size = [], 0
    yield "\n".join(lines).encode()


def in_memory(
    method: str, search: Callable[[FloatArray], int], probes: FloatArray, *, build_s: float = 0.0
) -> Measured:
    """search: the number of the face most similar to one float32 [512]."""
    times, found = [], []
    for probe in probes:
        started = time.perf_counter()
        found.append(search(probe) // FACES_EACH)
        times.append(time.perf_counter() - started)
    return _measured(method, build_s, times, None, found)


def _measured(
    method: str, build_s: float, times: Sequence[float], per_s: float | None, found: list[int]
) -> Measured:
    median, p95 = np.percentile(times, [50, 95]) * 1000
    print(f"{method}: {median:.1f} ms", flush=True)
    return Measured(method, build_s, float(median), float(p95), per_s, found)


def peers(faces: FloatArray, probes: FloatArray, *, graph: bool) -> Iterator[Measured]:
    import faiss

    yield in_memory("numpy, all cosines", lambda probe: int(np.argmax(faces @ probe)), probes)
    indexes: dict[str, Any] = {"faiss, flat": faiss.IndexFlatIP(faces.shape[1])}
    if graph:
        hnsw = faiss.IndexHNSWFlat(faces.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efSearch = 128
        indexes["faiss, HNSW"] = hnsw
    for name, index in indexes.items():
        started = time.perf_counter()
        index.add(faces)
        took = time.perf_counter() - started
        yield in_memory(name, partial(_first, index), probes, build_s=took)


def deepface(python: Path, faces: FloatArray, probes: FloatArray) -> Iterator[Measured]:
    """DeepFace's searches, by an interpreter of another environment."""
    with tempfile.TemporaryDirectory() as name, embedded_server() as dsn:
        folder = Path(name)
        np.save(folder / "embeddings.npy", np.concatenate([faces, probes]))
        (folder / "probes.txt").write_text(str(len(probes)))
        subprocess.run([python, deepface_search.__file__, folder, dsn], cwd=folder, check=True)
        for one in json.loads((folder / "measured.json").read_text()):
            found = [number // FACES_EACH for number in one["found"]]
            yield _measured(one["method"], one["build_s"], one["times"], None, found)


@contextmanager
def embedded_server() -> Iterator[str]:
    """The DSN of an embedded PostgreSQL server without anything in it."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "g", EmbeddedServerConfig()).start()
        try:
            server.wait()
            yield server.dsn
        finally:
            server.stop()


def _first(index: Any, probe: FloatArray) -> int:
    _, numbers = index.search(probe[None], 1)
    return int(numbers[0, 0])


async def gallery(
    dsn: str, faces: FloatArray, probes: FloatArray, deletions: int
) -> tuple[Measured, Written]:
    config = GalleryConfig(statement_timeout_s=600, purge_timeout_s=600)
    database = Database(dsn, config)
    await database.open()
    store = Store(database, config)
    try:
        settings = GallerySettings(GALLERY, RECOGNIZER, 0.35, VERSION, "off")
        await store.put_gallery(settings, key=KEY)
        took = await _imported(store, faces)
        print(f"{len(faces):,} faces imported at {len(faces) / took:.0f}/s", flush=True)
        async with database.alone() as connection:
            await connection.execute("VACUUM ANALYZE facegraph.faces")
            disk_mb = await _disk_mb(connection)
        await store.keep_codes(GALLERY)
        measured = await _searched(store, probes, build_s=took)
        # Of persons who are searched for no longer.
        times = [await _deletion(store, str(len(probes) + number)) for number in range(deletions)]
        return measured, Written(len(faces) / took, disk_mb, float(np.median(times)) * 1000)
    finally:
        await store.close()


async def _disk_mb(connection: Connection) -> float:
    row = await (
        await connection.execute(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('facegraph.faces')"
        )
    ).fetchone()
    assert row is not None
    return float(row[0]) / 2**20


async def _imported(store: Store, faces: FloatArray) -> float:
    """Seconds, without those in which this process makes the lines."""
    took = 0.0
    for lines in calls(faces):
        started = time.perf_counter()
        done = await store.import_lines(GALLERY, lines, key=KEY)
        took += time.perf_counter() - started
        assert not done.refused
    return took


async def _searched(store: Store, probes: FloatArray, *, build_s: float) -> Measured:
    query = SearchQuery(GALLERY, top_k=5)

    async def search(probe: FloatArray) -> int:
        photo = Embeddings(probe[None], None, RECOGNIZER, version=VERSION)
        result = await store.search([photo], query)
        return int(result.faces[0].candidates[0].person)

    for probe in probes[:10]:
        await search(probe)
    times, found = [], []
    for probe in probes:
        started = time.perf_counter()
        found.append(await search(probe))
        times.append(time.perf_counter() - started)
    per_s = await _rate([partial(search, probe) for probe in probes])
    return _measured("FaceGraph's gallery", build_s, times, per_s, found)


async def _rate(asked: Sequence[Callable[[], Awaitable[object]]]) -> float:
    """Answers a second, with AT_A_TIME questions at a time."""
    waiting = list(asked)

    async def client() -> None:
        while waiting:
            await waiting.pop()()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_A_TIME)))
    return len(asked) / (time.perf_counter() - started)


async def _deletion(store: Store, person: str) -> float:
    started = time.perf_counter()
    done = await store.delete_person(GALLERY, person, key=KEY)
    assert done.purged
    return time.perf_counter() - started


def recall(measured: Measured, right: npt.NDArray[np.intp]) -> str:
    searched = len(measured.found)
    found = int((np.asarray(measured.found) == right[:searched]).sum())
    return f"{found} of {searched}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", default="10000,100000")
    parser.add_argument("--hnsw-up-to", type=int, default=100_000, help="faiss takes long to build")
    parser.add_argument("--deepface", type=Path, metavar="PYTHON", help="that has DeepFace")
    parser.add_argument("--deepface-up-to", type=int, default=10_000, help="it takes long to store")
    parser.add_argument("--probes", type=int, default=PROBES)
    parser.add_argument("--deletions", type=int, default=DELETIONS)
    parser.add_argument("--results", default="gallery", help="name of the files of results")
    arguments = parser.parse_args()
    rows, raw, bars = [], [], []
    for count in map(int, arguments.faces.split(",")):
        faces, probes = made_up(count, arguments.probes)
        with embedded_server() as dsn:
            migrate(dsn)
            own, written = asyncio.run(gallery(dsn, faces, probes, arguments.deletions))
        found = [own, *peers(faces, probes, graph=count <= arguments.hnsw_up_to)]
        right = np.asarray(found[1].found)
        if arguments.deepface and count <= arguments.deepface_up_to:
            found += deepface(arguments.deepface, faces, probes)
        for one in found:
            rate = "" if one.per_s is None else f"{one.per_s:.0f}"
            times = f"{one.build_s:.1f}", f"{one.median_ms:.1f}", f"{one.p95_ms:.1f}"
            rows.append((f"{count:,}", one.method, *times, rate, recall(one, right)))
            bars.append((f"{count:,}: {one.method}", one.median_ms))
        raw.append(
            {
                "faces": count,
                "genuine": int((right == np.arange(len(right))).sum()),
                **asdict(written),
                "methods": [asdict(one) for one in found],
            }
        )
        print(f"{count:,} faces: {written.disk_mb:.0f} MiB on disk", end=", ")
        print(f"a deletion, purged, {written.deletion_ms:.0f} ms")
    report(
        arguments.results,
        f"Search of a face, {arguments.probes} probes of made-up persons",
        ("faces", "method", "build s", "ms", "p95", "16 at a time/s", "recall"),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "ms a search"),
        raw=raw,
    )


if __name__ == "__main__":
    main()
