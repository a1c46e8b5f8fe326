"""The store while its database is killed."""

import asyncio
import json
import os
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from configs.gallery import EmbeddedServerConfig, GalleryConfig
from deployments.errors import GalleryUnavailable
from deployments.gallery.connection import StoreConnection
from deployments.gallery.contracts import NewPerson, SearchQuery
from deployments.gallery.database import Database
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from deployments.gallery.store import Store
from deployments.replica.workers import BusyTime
from tests.support.galleries import KEY, axis, embedded, opened, source, with_gallery
from tests.support.waiting import TIMEOUT_S

CONFIG = EmbeddedServerConfig(shared_buffers_mb=16, start_timeout_s=60)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "galleries", CONFIG).start()
    server.wait()
    migrate(server.dsn)
    yield server
    server.stop()


def test_a_database_that_is_away_is_503_and_then_all_is_well(own: EmbeddedServer) -> None:
    async def run() -> None:
        async with opened(own.dsn) as store:
            await with_gallery(store, persons=("anna",))
            own.stop()
            with pytest.raises(GalleryUnavailable) as raised:
                await store.get_person("staff", "anna")
            assert (raised.value.status, raised.value.details) == (503, {"retry_after_s": 1})
            folder = Path(own.dsn.split("host=")[1].split(" ")[0]).parent
            again = EmbeddedServer(folder, CONFIG).start()
            try:
                await asyncio.to_thread(again.wait)
                await asyncio.sleep(1)  # as Retry-After says
                assert (await store.get_person("staff", "anna")).id == "anna"
            finally:
                again.stop()

    asyncio.run(run())


def test_a_database_that_is_busy_is_no_fault_of_the_replica(dsn: str) -> None:
    async def run() -> None:
        config = GalleryConfig(dsn=SecretStr(dsn), statement_timeout_s=2 * TIMEOUT_S)
        connection = StoreConnection(config, BusyTime(workers=1))
        try:
            await connection.store()
            with psycopg.connect(dsn) as lock:
                lock.execute("LOCK TABLE facegraph.galleries")
                await asyncio.wait_for(connection.check(), TIMEOUT_S)
            with psycopg.connect(dsn) as broken:
                broken.execute("ALTER TABLE facegraph.galleries RENAME TO others")
                broken.commit()
                try:
                    with pytest.raises(psycopg.errors.UndefinedTable):
                        await connection.check()
                finally:
                    broken.execute("ALTER TABLE facegraph.others RENAME TO galleries")
        finally:
            await connection.close()

    asyncio.run(run())


def test_busy_time_has_no_wait_for_a_connection(dsn: str) -> None:
    async def run() -> None:
        busy_time = BusyTime(workers=1)
        config = GalleryConfig(max_connections=1)
        database = Database(dsn, config, busy_time=busy_time)
        await database.open()

        async def work() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_sleep(0.2)")

        try:
            started = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(3)))
            assert 0.6 <= busy_time.stats()["busy_s"] <= time.perf_counter() - started
        finally:
            await database.close()

    asyncio.run(run())


def test_what_was_acknowledged_is_there_once_after_kills(own: EmbeddedServer) -> None:
    """Four writers enrol 60 persons, each call repeated until it is answered, over two kills."""

    async def is_acknowledged(store: Store, number: int) -> bool:
        person, photo = f"p{number}", embedded(axis(number))
        try:
            await store.put_person("staff", NewPerson(person), key=KEY)
            await store.enrol([photo], "staff", person, [source(person)], key=KEY)
        except GalleryUnavailable:
            await asyncio.sleep(0.05)
            return False
        return True

    async def run() -> None:
        async with opened(own.dsn) as one, opened(own.dsn) as other:
            await with_gallery(one)

            async def write(numbers: range) -> None:
                for number in numbers:
                    while not await is_acknowledged((one, other)[number % 2], number):
                        pass

            async def kill() -> int:
                killed = 0
                for _ in range(2):
                    await asyncio.sleep(0.2)
                    if own.pid is not None:
                        os.kill(own.pid, signal.SIGKILL)
                        killed += 1
                return killed

            *_, killed = await asyncio.gather(
                *(write(range(first, 60, 4)) for first in range(4)), kill()
            )
            assert killed
            assert (await one.get_gallery("staff")).faces == 60
            entries = (await one.audit("staff", limit=1000)).entries
            enrolled = [face for entry in entries for face in entry.faces]
            assert len(enrolled) == len(set(enrolled)) == 60
            for number in range(0, 60, 7):
                found = await other.search([embedded(axis(number))], SearchQuery("staff", top_k=1))
                assert found.faces[0].candidates[0].person == f"p{number}"

    asyncio.run(run())


def test_an_import_that_is_not_answered_has_stored_nothing(own: EmbeddedServer) -> None:
    faces = 4000

    async def run() -> None:
        lines = "\n".join(line_of(number) for number in range(faces)).encode()
        async with opened(own.dsn) as store:
            await with_gallery(store)
            with psycopg.connect(own.dsn, autocommit=True) as watch:
                task = asyncio.create_task(store.import_lines("staff", lines, key=KEY))
                # It cannot go on between this answer and the kill, in the same thread.
                while not 0 < copied(watch) < faces:
                    assert not task.done()
                    await asyncio.sleep(0)
                assert own.pid is not None
                os.kill(own.pid, signal.SIGKILL)
            with pytest.raises(GalleryUnavailable):
                await task
            await asyncio.to_thread(own.wait)
            await asyncio.sleep(1)  # as Retry-After says
            gallery = await store.get_gallery("staff")
            assert (gallery.persons, gallery.faces) == (0, 0)
            assert (await store.import_lines("staff", lines, key=KEY)).faces == faces
            assert (await store.get_gallery("staff")).faces == faces

    asyncio.run(run())


def line_of(number: int) -> str:
    """A line of an import: a person with one face."""
    face = {"id": f"f{number}", "embedding": b64encode(axis(number % 512).tobytes()).decode()}
    return json.dumps({"person": f"p{number}", "faces": [face]})


def copied(connection: psycopg.Connection) -> int:
    """The number of rows that the COPY in progress has stored."""
    row = connection.execute("SELECT tuples_processed FROM pg_stat_progress_copy").fetchone()
    return int(row[0]) if row else 0
