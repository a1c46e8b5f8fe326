"""Faces of many photos as one table: a row for each face, its embeddings beside it."""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.files import write_atomically
from deployments.contracts import EMBEDDING_SIZE, Detections, Embeddings
from deployments.errors import InvalidRequest

PHOTO, FACE, PROBLEM = "photo", "face", "problem"
EMBEDDING, UNCERTAINTY = "embedding_", "uncertainty_"
_BOX, _LANDMARKS = 4, 10


@dataclass(frozen=True)
class PhotoFaces:
    """What was found in a photo of that many pixels, by each recognizer; or what was wrong."""

    photo: str
    width: int = 0
    height: int = 0
    detections: Detections | None = None
    embeddings: Sequence[Embeddings] = ()
    problem: str | None = None


def faces_schema(recognizers: Sequence[str]) -> pa.Schema:
    """box: x1 y1 x2 y2, landmarks: x y of the five, both in the photo's pixels. Embeddings have L2
    norm 1; uncertainties are null where a recognizer gives none."""
    vector = pa.list_(pa.float32(), EMBEDDING_SIZE)
    found = [
        (PHOTO, pa.string()),
        (FACE, pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("box", pa.list_(pa.float32(), _BOX)),
        ("score", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), _LANDMARKS)),
    ]
    for name in recognizers:
        found += [(EMBEDDING + name, vector), (UNCERTAINTY + name, pa.float32())]
    return pa.schema(found)


def results_schema(recognizers: Sequence[str]) -> pa.Schema:
    """The same, and for a photo without a face, or with a problem, a row whose face is null."""
    return faces_schema(recognizers).append(pa.field(PROBLEM, pa.string()))


def results_table(photos: Sequence[PhotoFaces], recognizers: Sequence[str]) -> pa.Table:
    schema = results_schema(recognizers)
    return pa.concat_tables([_rows(photo, schema) for photo in photos])


def faces_of(results: pa.Table) -> pa.Table:
    """The rows that are faces."""
    return results.filter(results[FACE].is_valid()).drop_columns([PROBLEM])


def problems_of(results: pa.Table) -> dict[str, str]:
    """What was wrong, by photo."""
    wrong = results.filter(results[PROBLEM].is_valid())
    return dict(zip(wrong[PHOTO].to_pylist(), wrong[PROBLEM].to_pylist(), strict=True))


def _rows(photo: PhotoFaces, schema: pa.Schema) -> pa.Table:
    detections = photo.detections
    if detections is None or not len(detections):
        row = {PHOTO: photo.photo, PROBLEM: photo.problem}
        return pa.Table.from_pylist([row], schema=schema)
    count = len(detections)
    columns = {
        PHOTO: [photo.photo] * count,
        FACE: range(count),
        "width": [photo.width] * count,
        "height": [photo.height] * count,
        "box": _vectors(detections.boxes),
        "score": detections.scores,
        "landmarks": _vectors(detections.landmarks.reshape(count, _LANDMARKS)),
        PROBLEM: [None] * count,
    }
    for part in photo.embeddings:
        columns[EMBEDDING + part.recognizer] = _vectors(part.vectors)
        columns[UNCERTAINTY + part.recognizer] = (
            [None] * count if part.uncertainty is None else part.uncertainty
        )
    return pa.table(columns, schema=schema)


def _vectors(values: npt.NDArray[np.float32]) -> pa.Array:
    """float32 [N,K] -> N lists of K."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


_PHOTOS, _RUN = b"facegraph.photos", b"facegraph.run"
# What an interruption may cost: this many photos, or seconds of work.
_PHOTOS_OF_A_PART = 1000
_SECONDS_OF_A_PART = 10.0


class FaceParts:
    """Takes results in any order. A part says in its metadata which photos it is done with, so that
    another run goes on from there; those with a problem are not among them.

    run: what the embeddings depend on. Raises InvalidRequest where parts of another run are found.
    """

    def __init__(self, out: Path, run: Mapping[str, Any], schema: pa.Schema) -> None:
        self._out = out
        self._folder = out.with_name(f"{out.name}.parts")
        self._run = json.dumps(run, sort_keys=True)
        self._schema = schema.with_metadata({_RUN: self._run})
        self._waiting: list[pa.Table] = []
        self._since = time.monotonic()
        self.problems: dict[str, str] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts = sorted(self._folder.glob("*.parquet"))
        self.done = {photo for part in self._parts for photo in self._photos_of(part)}
        self.faces = sum(pq.read_metadata(part).num_rows for part in self._parts)

    def add(self, results: pa.Table) -> None:
        """Rows of `results_schema`; all of a photo's together."""
        self._waiting.append(results)
        self.problems |= problems_of(results)
        self.faces += len(results) - results[FACE].null_count
        waiting = sum(len(pc.unique(table[PHOTO])) for table in self._waiting)
        if waiting >= _PHOTOS_OF_A_PART or time.monotonic() - self._since > _SECONDS_OF_A_PART:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        results = pa.concat_tables(self._waiting)
        photos = [name for name in _unique(results) if name not in self.problems]
        metadata = {_RUN: self._run, _PHOTOS: json.dumps(photos)}
        part = self._folder / f"{time.time_ns()}.parquet"
        write_atomically(part, _parquet(faces_of(results).replace_schema_metadata(metadata)))
        self._parts.append(part)
        self.done |= set(photos)
        self._waiting, self._since = [], time.monotonic()

    def join(self) -> None:
        """Make the one file of all parts, and take them away."""
        self.flush()
        draft = self._folder / "joined"
        with pq.ParquetWriter(draft, self._schema) as writer:
            for part in self._parts:
                writer.write_table(
                    pq.read_table(part).replace_schema_metadata(self._schema.metadata)
                )
        os.replace(draft, self._out)
        shutil.rmtree(self._folder)

    def _photos_of(self, part: Path) -> list[str]:
        metadata = pq.read_schema(part).metadata or {}
        if metadata.get(_RUN, b"").decode() != self._run:
            raise InvalidRequest(
                f"{self._folder} was begun with other models or options; take another --out, or"
                " remove that folder",
                field="out",
            )
        photos: list[str] = json.loads(metadata[_PHOTOS])
        return photos


def _unique(results: pa.Table) -> list[str]:
    names: list[str] = pc.unique(results[PHOTO]).to_pylist()
    return names


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content
