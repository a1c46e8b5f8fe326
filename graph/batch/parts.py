"""A Parquet file of faces that takes hours to fill: first in parts, in a folder beside it.

The metadata of each part lists the photos that it covers: a later run continues after them.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
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


def parts_folder(out: Path) -> Path:
    """The folder of the parts of the Parquet file `out`."""
    return out.with_name(f"{out.name}.parts")


class FaceParts:
    """The parts of the Parquet file `out`, those of interrupted runs included.

    photos: those whose faces the file gets; parts may have others, which were deleted since.
    run: everything that the embeddings depend on. Raises InvalidRequest if there are parts with
    another `run` or other columns. done: photos that parts cover. A photo with a problem is not
    among them, so that another run tries it again.
    """

    def __init__(
        self, out: Path, photos: Sequence[str], run: Mapping[str, Any], schema: pa.Schema
    ) -> None:
        self._out = out
        self._photos = pa.array(photos, pa.string())
        self._folder = parts_folder(out)
        self._run = json.dumps({**run, "columns": schema.names}, sort_keys=True)
        self._schema = schema.with_metadata({_RUN: self._run})
        self._waiting: list[pa.Table] = []
        self._since = time.monotonic()
        self.problems: dict[str, str] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts = sorted(self._folder.glob("*.parquet"))
        self.done = {photo for part in self._parts for photo in self._photos_of(part)}
        self.faces = sum(len(self._faces_in(part, [PHOTO])) for part in self._parts)

    def add(self, results: pa.Table) -> None:
        """Add rows of `results_schema`, all rows of a photo at once; photos come in any order."""
        self._waiting.append(results)
        self.problems |= problems_of(results)
        self.faces += len(results) - results[FACE].null_count
        waiting = sum(len(pc.unique(table[PHOTO])) for table in self._waiting)
        if waiting >= _PHOTOS_PER_PART or time.monotonic() - self._since > _SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Write the results that are in no part yet to a new one."""
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
        """Write all parts to the file `out`, and delete them."""
        self.flush()
        draft = self._folder / "joined"
        with draft.open("wb") as file, pq.ParquetWriter(file, self._schema) as writer:
            for part in self._parts:
                faces = self._faces_in(part)
                writer.write_table(faces.replace_schema_metadata(self._schema.metadata))
        os.replace(draft, self._out)
        shutil.rmtree(self._folder)

    def _faces_in(self, part: Path, columns: list[str] | None = None) -> pa.Table:
        """The part's rows of photos that are still there."""
        with part.open("rb") as file:  # Arrow takes no path that is not UTF-8
            # In this thread alone: another one may still hold the file when Python ends, and then
            # aborts the process.
            reader = pq.ParquetFile(file, pre_buffer=False)
            faces = reader.read(columns=columns, use_threads=False)
        return faces.filter(pc.is_in(faces[PHOTO], self._photos))

    def _photos_of(self, part: Path) -> list[str]:
        with part.open("rb") as file:
            metadata = pq.read_schema(file).metadata or {}
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
