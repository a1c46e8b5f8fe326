"""The codes of large galleries in a replica's memory, which choose the candidates of a search.

The database knows the transaction that stored each face. The codes are those of one moment, and
`since` is the oldest transaction that was not over then: what it or a later one stored is found by
the search's own statement. A deleted face's code may still be here, but the statement does not find
the face; that leaves too few candidates, and the search is made in the database alone.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import faiss
import numpy as np

from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE, ByteArray, FloatArray
from deployments.errors import FaceGraphError
from deployments.gallery.database import Connection, Database
from deployments.gallery.vectors import code_bytes

# An id, its code as bit_send() writes it, and whether it is recent.
_Row = tuple[str, bytes, bool]
_HEADER_BYTES = 4  # of bit_send(): the number of bits, int32
# A code, and an id as a Python string with its place in a list.
_FACE_BYTES = EMBEDDING_SIZE // 8 + 100
_ROWS_AT_A_TIME = 5000
# Seconds after which a search has the newer faces added to the codes; until then it reads them.
_OLD_S = 1.0
# Candidates more than are needed: so many deleted faces may be among them.
SPARE = 32
# Faces chosen by the face's own signs, for each of those that its numbers then choose.
_COARSE = 10
_ROWS = (
    "SELECT id, bit_send(code), stored_in >= %s::text::xid8 FROM faces"
    " WHERE gallery = %s AND stored_in >= %s::text::xid8"
)

Answer = TypeVar("Answer")

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Near:
    """The ids of the faces nearest by their codes, and the transaction from which on there may be
    faces without one here."""

    ids: list[str]
    since: int


def _empty_index() -> Any:
    index: Any = faiss.IndexBinaryFlat(EMBEDDING_SIZE)
    # Counted by distance, of which there are few: of a thousand nearest, a heap takes longer.
    index.use_heap = False
    return index


@dataclass
class Codes:
    """One gallery's codes. recent: the ids of those stored by `since` or later."""

    since: int
    index: Any = field(default_factory=_empty_index)
    ids: list[str] = field(default_factory=list)
    recent: set[str] = field(default_factory=set)
    updated_s: float = field(default_factory=time.monotonic)

    @property
    def settled(self) -> int:
        """The number of those stored before `since`."""
        return len(self.ids) - len(self.recent)

    def add(self, rows: Sequence[_Row]) -> None:
        new = [row for row in rows if row[0] not in self.recent]
        if new:
            sent = np.frombuffer(b"".join(code for _, code, _ in new), np.uint8)
            self.index.add(np.ascontiguousarray(sent.reshape(len(new), -1)[:, _HEADER_BYTES:]))
            self.ids += [id for id, _, _ in new]
        self.recent.update(_recent(rows))

    def advance(self, since: int, rows: Sequence[_Row]) -> None:
        """Add what the old `since` or later ones stored, as of a new moment."""
        self.add(rows)
        self.since, self.recent, self.updated_s = since, _recent(rows), time.monotonic()

    def nearest(self, vector: FloatArray, count: int) -> Near:
        """The faces to whose signs a face, float32 [512], has the largest dot products.

        These keep more of the order of the cosines than Hamming distances, which lose the size of
        the face's numbers; so those choose only _COARSE times as many.
        """
        asked = np.frombuffer(code_bytes(vector), np.uint8)[None]
        _, [numbers] = self.index.search(asked, min(_COARSE * count, len(self.ids)))
        # Twice the dot products with the signs, but for a number that is the same for all.
        bits = np.unpackbits(self._codes()[numbers], axis=1)
        best = np.argsort(-(bits @ vector))[:count]
        return Near([self.ids[number] for number in numbers[best]], self.since)

    def _codes(self) -> ByteArray:
        """uint8 [N,64], in the index's own memory: only until faces are added."""
        memory = faiss.rev_swig_ptr(self.index.xb.data(), self.index.xb.size())
        codes: ByteArray = memory.reshape(len(self.ids), -1)
        return codes


def _recent(rows: Sequence[_Row]) -> set[str]:
    return {id for id, _, is_recent in rows if is_recent}


class GalleryCodes:
    """The codes of the large galleries that this process has searched, by the gallery's number.

    They are read in the background; without them a search is slower, and finds the same. All work
    on them is done by one thread, as FAISS cannot search in an index that is being added to.
    """

    def __init__(self, database: Database, config: SearchConfig) -> None:
        self.config = config
        self._database = database
        self._codes: dict[int, Codes] = {}
        self._refused: set[int] = set()  # galleries for which there was no room
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # OpenMP's number of threads is that of the thread which calls it.
        self._thread = ThreadPoolExecutor(
            1, "facegraph-codes", initializer=faiss.omp_set_num_threads, initargs=(1,)
        )

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._thread.shutdown()

    async def nearest(self, gallery: int, vector: FloatArray, count: int) -> Near | None:
        """Somewhat more than `count` faces; None while the gallery's codes are not here."""
        codes = self._codes.get(gallery)
        if codes is None:
            return None
        if time.monotonic() - codes.updated_s > _OLD_S:
            self._begin(gallery, partial(self._update, gallery, codes))
        return await self._run(codes.nearest, vector, count + SPARE)

    def keep(self, gallery: int) -> None:
        """Begin to read a gallery's codes, unless they are here."""
        if gallery not in self._codes and gallery not in self._refused:
            self._begin(gallery, partial(self._read, gallery))

    async def kept(self, gallery: int) -> None:
        """Wait until a gallery's codes are here, or there is no room for them."""
        self.keep(gallery)
        if task := self._tasks.get(gallery):
            await task

    async def check(self) -> None:
        """Read those codes anew of which some faces are no longer in their gallery."""
        self._refused.clear()
        for gallery, codes in list(self._codes.items()):
            since, settled = codes.since, codes.settled
            async with self._database.transaction() as connection:
                row = await (
                    await connection.execute(
                        "SELECT count(*) FROM faces"
                        " WHERE gallery = %s AND stored_in < %s::text::xid8",
                        (gallery, str(since)),
                    )
                ).fetchone()
            if row != (settled,):
                self._codes.pop(gallery, None)
                self.keep(gallery)

    def _begin(self, gallery: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work on a gallery's codes, unless there is some under way."""
        if gallery not in self._tasks:
            task = self._tasks[gallery] = asyncio.create_task(_logged(work()))
            task.add_done_callback(lambda _: self._tasks.pop(gallery, None))

    async def _read(self, gallery: int) -> None:
        async with self._snapshot() as (connection, since):
            codes = Codes(since)
            async for rows in _rows(connection, gallery, from_=0, since=since):
                if not self._has_room(len(codes.ids) + len(rows)):
                    self._refused.add(gallery)
                    return
                await self._run(codes.add, rows)
        if codes.ids:
            self._codes[gallery] = codes

    async def _update(self, gallery: int, codes: Codes) -> None:
        async with self._snapshot() as (connection, since):
            found = _rows(connection, gallery, from_=codes.since, since=since)
            rows = [row async for some in found for row in some]
        if self._has_room(len(rows)):
            await self._run(codes.advance, since, rows)
        else:
            self._codes.pop(gallery, None)
            self._refused.add(gallery)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[tuple[Connection, int]]:
        """A transaction that sees one moment, and the oldest transaction not over then."""
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = await (
                await connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
            ).fetchone()
            assert row is not None
            yield connection, int(row[0])

    def _has_room(self, more: int) -> bool:
        """True if so many faces more can be kept."""
        faces = more + sum(len(codes.ids) for codes in self._codes.values())
        return faces * _FACE_BYTES <= self.config.memory_mb * 2**20

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


async def _rows(
    connection: Connection, gallery: int, *, from_: int, since: int
) -> AsyncIterator[list[_Row]]:
    """The faces stored by the transaction `from_` or later, some at a time."""
    async with connection.cursor("codes") as cursor:
        await cursor.execute(_ROWS, (str(since), gallery, str(from_)), binary=True)
        while rows := await cursor.fetchmany(_ROWS_AT_A_TIME):
            yield rows


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Searches do without the codes meanwhile, and begin to read them again."""
    try:
        await work
    except FaceGraphError as error:
        logger.warning("galleries: codes are not read: %s", error.message)
