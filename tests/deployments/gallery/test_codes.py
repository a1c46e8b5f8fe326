"""The codes of a gallery in a replica's memory, beside a replica that changes the gallery."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE, FloatArray
from deployments.gallery import backup, codes, galleries, search
from deployments.gallery.contracts import SearchQuery
from deployments.gallery.database import Connection
from deployments.gallery.store import Store
from deployments.gallery.vectors import code_bytes
from tests.support.galleries import KEY, embedded, enrol, identities, opened, with_gallery

# More than the candidates that are asked for beyond these.
MANY = 100
ALWAYS = SearchConfig(exact_up_to=0, candidates=10)


async def stored(store: Store, person: str, faces: FloatArray, gallery: str = "staff") -> None:
    """Import a person with [faces,512], in one call."""
    entries = [
        {"id": f"{person}-{number}", "embedding": b64encode(face.tobytes()).decode()}
        for number, face in enumerate(faces)
    ]
    line = json.dumps({"person": person, "faces": entries}).encode()
    assert (await store.import_lines(gallery, line, key=KEY)).faces == len(faces)


async def kept(store: Store) -> list[str]:
    """The ids of the faces whose codes the store's process has."""
    async with store.database.transaction() as connection:
        found = await galleries.find(connection, "staff")
    near = await store._codes.nearest(found.no, identities(1, faces=1)[0, 0], 10 * MANY)
    return [] if near is None else sorted(near.ids)


async def scans(connection: Connection) -> tuple[int, int]:
    """Count the connection's reads of parts of the faces: from end to end, and by an index."""
    row = await (
        await connection.execute(
            "SELECT sum(seq_scan)::int, sum(idx_scan)::int FROM pg_stat_xact_user_tables"
            " WHERE relname LIKE 'faces%'"
        )
    ).fetchone()
    assert row is not None
    return row[0], row[1]


async def first(store: Store, face: FloatArray) -> str:
    result = await store.search([embedded(face)], SearchQuery("staff", top_k=1))
    return result.faces[0].candidates[0].person


def test_a_faces_numbers_choose_among_signs_at_the_same_distance() -> None:
    faces = identities(50, faces=1)[:, 0]
    header = EMBEDDING_SIZE.to_bytes(4, "big")
    kept = codes.Codes(since=1)
    kept.add([(str(at), header + code_bytes(face), False) for at, face in enumerate(faces)])
    asked = identities(1, faces=1, seed=1)[0, 0]
    by_products = np.argsort(-(np.where(faces > 0, 1, -1) @ asked))
    by_distances = np.argsort(((faces > 0) != (asked > 0)).sum(axis=1), kind="stable")
    assert kept.nearest(asked, 5).ids == [str(at) for at in by_products[:5]]
    assert by_distances[:5].tolist() != by_products[:5].tolist()


def test_what_another_replica_writes_is_found(dsn: str) -> None:
    async def run() -> None:
        faces = identities(4, faces=2)
        async with opened(dsn, search=ALWAYS) as reader, opened(dsn) as writer:
            for gallery in ("staff", "guests"):
                await with_gallery(writer, gallery)
            for person in (0, 1):
                await stored(writer, f"p{person}", faces[person])
            await stored(writer, "guest", faces[2], "guests")
            await reader.keep_codes("staff")
            assert await kept(reader) == ["p0-0", "p0-1", "p1-0", "p1-1"]

            assert await first(reader, faces[0, 0]) == "p0"
            await enrol(writer, "new", faces[3, 0])
            assert await first(reader, faces[3, 1]) == "new"
            await writer.move_person("guests", "guest", "staff", key=KEY)
            assert await first(reader, faces[2, 0]) == "guest"
            await writer.move_face("staff", "p0", "p0-0", "p1", key=KEY)
            assert await first(reader, faces[0, 0]) == "p1"
            await writer.delete_person("staff", "new", key=KEY)
            assert await first(reader, faces[3, 1]) != "new"

    asyncio.run(run())


def test_deleted_faces_leave_a_scan_and_then_the_codes(dsn: str) -> None:
    async def run() -> None:
        faces = identities(2, faces=MANY)
        async with opened(dsn, search=ALWAYS) as reader, opened(dsn) as writer:
            await with_gallery(writer)
            await stored(writer, "gone", faces[0])
            await stored(writer, "stays", faces[1, :1])
            await stored(writer, "other", identities(1, faces=1, seed=1)[0])
            await reader.keep_codes("staff")
            await writer.delete_person("staff", "gone", key=KEY)
            for probe in faces[:, -1]:
                assert await first(reader, probe) in ("stays", "other")
            assert len(await kept(reader)) > MANY
            await reader.retain()
            await reader.keep_codes("staff")
            assert await kept(reader) == ["other-0", "stays-0"]

    asyncio.run(run())


def test_newer_faces_join_the_codes_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_OLD_S", 0.0)

    async def run() -> None:
        faces = identities(6, faces=1)
        async with opened(dsn, search=ALWAYS) as reader, opened(dsn) as writer:
            await with_gallery(writer)
            await stored(writer, "p0", faces[0])
            await reader.keep_codes("staff")
            for number in range(1, len(faces)):
                await stored(writer, f"p{number}", faces[number])
                while len(found := await kept(reader)) <= number:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert found == [f"p{one}-0" for one in range(number + 1)]

    asyncio.run(run())


def test_without_room_the_database_is_searched(dsn: str) -> None:
    async def run() -> None:
        faces = identities(2, faces=2)
        none = ALWAYS.model_copy(update={"memory_mb": 0})
        async with opened(dsn, search=none) as store:
            await with_gallery(store)
            for number, own in enumerate(faces):
                await stored(store, f"p{number}", own[:1])
            await store.keep_codes("staff")
            assert await kept(store) == []
            assert await first(store, faces[1, 1]) == "p1"

    asyncio.run(run())


def test_a_restored_gallery_is_found_at_once(dsn: str, tmp_path: Path) -> None:
    """Its faces were stored by transactions of before."""

    async def run() -> None:
        faces = identities(2, faces=2)
        async with opened(dsn) as writer:
            await with_gallery(writer)
            for number, own in enumerate(faces):
                await stored(writer, f"p{number}", own[:1])
        await asyncio.to_thread(backup.backup, dsn, tmp_path / "dump")
        async with opened(dsn) as writer:
            await writer.delete_person("staff", "p1", key=KEY)
        async with opened(dsn, search=ALWAYS) as reader:
            await reader.keep_codes("staff")
            assert await kept(reader) == ["p0-0"]
            await asyncio.to_thread(backup.restore, dsn, tmp_path / "dump", replace=True)
            assert await first(reader, faces[1, 1]) == "p1"

    asyncio.run(run())


def test_a_plan_of_a_small_gallery_holds_when_the_gallery_has_grown(dsn: str) -> None:
    """No part of the faces is read from end to end, though PostgreSQL last counted 20 faces."""

    async def run() -> None:
        faces = identities(30, faces=100)
        async with opened(dsn, search=ALWAYS) as store:
            await with_gallery(store)
            await stored(store, "p0", faces[0, :20])
            async with store.database.alone() as connection:
                await connection.execute("ANALYZE facegraph.faces")
            await store.keep_codes("staff")
            for _ in range(10):  # a statement is prepared after some calls
                assert await first(store, faces[0, 20]) == "p0"
            for number in range(1, 30):
                await stored(store, f"p{number}", faces[number, :99])
            async with store.database.transaction() as connection:
                before = await scans(connection)
                found = await galleries.find(connection, "staff")
                asked, wanted = faces[20, 99], search.Wanted(2)
                near = await search.candidates(found, asked, wanted, store._codes)
                best = await search.nearest(connection, found, asked, wanted, near, store._codes)
                assert best[0].person == "p20"
                whole, indexed = await scans(connection)
                assert whole == before[0]
                assert indexed > before[1]

    asyncio.run(run())
