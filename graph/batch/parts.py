"""A table of faces that is written over hours: Parquet parts in a folder beside it, then one file.

Each part lists in its metadata the photos that it covers, so that a later run continues after them.
"""

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

from configs.files import write_atomically
from deployments.errors import InvalidRequest
from graph.batch.table import FACE, PHOTO, faces_of, problems_of

# Keys of a part's metadata.
_PHOTOS, _RUN = b"facegraph.photos", b"facegraph.run"
# A part is written after this many photos or seconds: an interruption loses no more.
_PHOTOS_PER_PART = 1000
_SECONDS_PER_PART = 10.0


class FaceParts:
    """The parts of the table at `out`, those of interrupted runs included.

    Takes results in any order. Photos with a problem are in no part's list, so that another run
    tries them again. run: everything that the embeddings depend on. Raises InvalidRequest where
    parts of another run are found.
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
        """Rows of `results_schema`, with all rows of a photo together."""
        self._waiting.append(results)
        self.problems |= problems_of(results)
        self.faces += len(results) - results[FACE].null_count
        waiting = sum(len(pc.unique(table[PHOTO])) for table in self._waiting)
        if waiting >= _PHOTOS_PER_PART or time.monotonic() - self._since > _SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Write a part of the results that are in none yet."""
        if not self._waiting:
            return
        results = pa.concat_tables(self._waiting)
        names: list[str] = pc.unique(results[PHOTO]).to_pylist()
        photos = [name for name in names if name not in self.problems]
        metadata = {_RUN: self._run, _PHOTOS: json.dumps(photos)}
        part = self._folder / f"{time.time_ns()}.parquet"
        write_atomically(part, _parquet(faces_of(results).replace_schema_metadata(metadata)))
        self._parts.append(part)
        self.done |= set(photos)
        self._waiting, self._since = [], time.monotonic()

    def join(self) -> None:
        """Write all parts to the one file, and delete them."""
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


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content
