"""A table of faces that grows over hours: parts in a folder beside it, one file in the end."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deployments.errors import InvalidRequest
from graph.face_table import FACE, PHOTO, faces_of, problems_of

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
        _write(part, faces_of(results).replace_schema_metadata(metadata))
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


def _write(path: Path, table: pa.Table) -> None:
    draft = path.with_suffix(".draft")
    pq.write_table(table, draft)
    os.replace(draft, path)
