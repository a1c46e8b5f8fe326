"""Deletions: nothing of a face is left on the disk."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from deployments.contracts import FloatArray
from tests.support.galleries import KEY, enrol, identities, opened, with_gallery


def holds(folder: Path, vector: FloatArray) -> list[str]:
    """The files with a part of the embedding's numbers, or its code."""
    numbers = vector.tobytes()
    parts = [numbers[at : at + 64] for at in range(0, len(numbers), 256)]
    parts.append(np.packbits(vector > 0).tobytes())
    return [
        str(file.relative_to(folder))
        for file, content in _contents(folder)
        if any(part in content for part in parts)
    ]


def _contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file, file.read_bytes()


@pytest.mark.parametrize("deletes", ["person", "face", "gallery"])
def test_a_purged_deletion_leaves_no_byte(dsn: str, data_folder: Path, deletes: str) -> None:
    async def run() -> None:
        faces = identities(6, faces=2, seed=len(deletes))
        async with opened(dsn, purge_timeout_s=60) as store:
            await with_gallery(store)
            for number, own in enumerate(faces):
                await enrol(store, f"p{number}", *own)
            # A checkpoint, statistics and a move spread the bytes.
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("ANALYZE")
                connection.execute("CHECKPOINT")
            await store.change_person("staff", "p0", {"name": "Anna"}, key=KEY)
            assert holds(data_folder, faces[0, 0])
            face = (await store.list_faces("staff", "p0"))[0]  # the first one enrolled
            if deletes == "person":
                done = await store.delete_person("staff", "p0", key=KEY)
            elif deletes == "face":
                done = await store.delete_face("staff", "p0", face.id, key=KEY)
            else:
                done = await store.delete_gallery("staff", key=KEY)
            assert (done.deleted, done.purged) == (True, True)
            assert holds(data_folder, faces[0, 0]) == []
            if deletes != "gallery":
                assert (await store.get_gallery("staff")).faces == 12 - (
                    2 if deletes == "person" else 1
                )

    asyncio.run(run())


def test_an_old_transaction_delays_the_purge_until_it_ends(dsn: str, data_folder: Path) -> None:
    async def run() -> None:
        [[face]] = identities(1, faces=1, seed=9)
        async with opened(dsn, purge_timeout_s=0.5) as store:
            await with_gallery(store)
            await enrol(store, "anna", face)
            with psycopg.connect(dsn) as reader:
                reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                reader.execute("SELECT count(*) FROM facegraph.persons")
                done = await store.delete_person("staff", "anna", key=KEY)
                assert (done.deleted, done.purged) == (True, False)
            await store.retain()
            assert holds(data_folder, face) == []

    asyncio.run(run())
