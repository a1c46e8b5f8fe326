"""Recall of a large gallery's search: python -m benchmarks.gallery_recall [--faces 100000].

The gallery and its made-up persons are those of benchmarks/gallery.py; each probe is a fifth face
of a person, and many more than there are searched, as a recall of 0.999 takes thousands. Recall:
the probes whose first person is that of all cosines, computed by numpy. Genuine probes: those whose
first person by all cosines is the person shown.
"""

import argparse
import asyncio
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.gallery import (
    FACES_EACH,
    GALLERY,
    KEY,
    RECOGNIZER,
    VERSION,
    calls,
    embedded_server,
    made_up,
)
from benchmarks.harness.results import draw_bars, report
from configs.gallery import GalleryConfig
from deployments.contracts import Embeddings, FloatArray
from deployments.gallery.contracts import GallerySettings, SearchQuery
from deployments.gallery.database import Database
from deployments.gallery.schema import migrate
from deployments.gallery.store import Store
from graph.evaluation.verification import IntArray

_PROBES_AT_A_TIME = 250


@dataclass(frozen=True)
class Recall:
    """Numbers of probes; found: those of which the search found the right first person."""

    faces: int
    probes: int
    found: int
    genuine: int
    genuine_found: int

    @property
    def recall(self) -> float:
        return self.genuine_found / self.genuine


async def searched(dsn: str, faces: FloatArray, probes: FloatArray) -> IntArray:
    """The first person of each probe in a gallery of these faces."""
    config = GalleryConfig(statement_timeout_s=600)
    database = Database(dsn, config)
    await database.open()
    try:
        store = Store(database, config)
        await store.put_gallery(GallerySettings(GALLERY, RECOGNIZER, 0.35, VERSION, "off"), key=KEY)
        for lines in calls(faces):
            await store.import_lines(GALLERY, lines, key=KEY)
        query, found = SearchQuery(GALLERY, top_k=1), []
        for probe in probes:
            photo = Embeddings(probe[None], None, RECOGNIZER, version=VERSION)
            result = await store.search([photo], query)
            found.append(int(result.faces[0].candidates[0].person))
        return np.asarray(found, np.int64)
    finally:
        await store.close()


def by_all_cosines(faces: FloatArray, probes: FloatArray) -> IntArray:
    parts = [
        np.argmax(probes[start : start + _PROBES_AT_A_TIME] @ faces.T, axis=1)
        for start in range(0, len(probes), _PROBES_AT_A_TIME)
    ]
    return np.concatenate(parts).astype(np.int64) // FACES_EACH


def measured(count: int, probes_wanted: int) -> Recall:
    faces, probes = made_up(count, probes_wanted)
    with embedded_server() as dsn:
        migrate(dsn)
        given = asyncio.run(searched(dsn, faces, probes))
    right = by_all_cosines(faces, probes)
    found, genuine = given == right, right == np.arange(len(probes))
    return Recall(
        count, len(probes), int(found.sum()), int(genuine.sum()), int((found & genuine).sum())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", default="100000")
    parser.add_argument("--probes", type=int, default=5_000)
    arguments = parser.parse_args()
    found = [measured(int(faces), arguments.probes) for faces in arguments.faces.split(",")]
    report(
        "gallery_recall",
        "Recall of the first person, made-up persons",
        ("faces", "probes", "found", "genuine", "genuine found", "recall"),
        [
            (f"{one.faces:,}", one.probes, one.found, one.genuine, one.genuine_found, one.recall)
            for one in found
        ],
        draw=lambda axes: draw_bars(
            axes, [(f"{one.faces:,} faces", one.recall) for one in found], "recall, genuine probes"
        ),
        raw=[asdict(one) for one in found],
    )


if __name__ == "__main__":
    main()
