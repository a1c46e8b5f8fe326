"""The embedded PostgreSQL server: its owner, its end, and what survives."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from configs.gallery import EmbeddedServerConfig
from deployments.errors import GalleryUnavailable
from deployments.gallery.contracts import SearchQuery
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from deployments.gallery.store import Store
from tests.support.galleries import axis, embedded, enrol, opened, with_gallery

CONFIG = EmbeddedServerConfig(shared_buffers_mb=16, start_timeout_s=60)
OWNER = """
import sys, time
from pathlib import Path
from configs.gallery import EmbeddedServerConfig
from deployments.gallery.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), EmbeddedServerConfig(shared_buffers_mb=16)).start()
server.wait()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "galleries", CONFIG).start()
    server.wait()
    yield server
    server.stop()


def rows(server: EmbeddedServer) -> int:
    with psycopg.connect(server.dsn) as connection:
        found = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert found is not None
    return int(found[0])


def keep_a_row(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (1)")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_killed_server_is_started_again_with_its_rows(own: EmbeddedServer) -> None:
    keep_a_row(own)
    first = own.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while own.pid in (None, first) and time.monotonic() < deadline:
        time.sleep(0.05)
    own.wait()
    assert own.pid != first
    assert rows(own) == 1


def test_a_second_server_of_the_folder_joins_the_first_and_takes_over(
    own: EmbeddedServer, tmp_path: Path
) -> None:
    second = EmbeddedServer(tmp_path / "galleries", CONFIG).start()
    try:
        second.wait()
        assert second.pid is None
        keep_a_row(own)
        assert rows(second) == 1
        own.stop()
        second.wait()
        assert second.pid is not None
        assert rows(second) == 1
    finally:
        second.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(second.dsn)


def test_a_server_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "galleries")]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 30
    while is_running(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(server)
    # The number in the file of a server that was killed may be another process's by now.
    pid_file = tmp_path / "galleries" / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n0\n5432\n{pid_file.parent}\n\n\n")
    again = EmbeddedServer(tmp_path / "galleries", CONFIG).start()
    try:
        again.wait()
        assert again.pid is not None
    finally:
        again.stop()


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / ("long" * 25), CONFIG)
    try:
        server.start().wait()
        migrate(server.dsn)
        assert "long" not in server.dsn
    finally:
        server.stop()


def test_migration_is_repeatable_and_refuses_a_newer_schema(dsn: str) -> None:
    assert migrate(dsn) == migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE facegraph.alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(GalleryUnavailable, match="9999 of a newer FaceGraph"):
            migrate(dsn)
    finally:
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE facegraph.alembic_version SET version_num = '0003'")


def test_a_migration_keeps_the_faces(dsn: str) -> None:
    async def run(action: Callable[[Store], Awaitable[None]]) -> None:
        async with opened(dsn) as store:
            await action(store)

    async def write(store: Store) -> None:
        await with_gallery(store)
        await enrol(store, "anna", axis(0))

    async def check(store: Store) -> None:
        found = await store.search([embedded(axis(0))], SearchQuery("staff"))
        assert found.faces[0].candidates[0].similarity == 1.0

    asyncio.run(run(write))
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path TO facegraph, public")
        connection.execute("ALTER TABLE faces ALTER COLUMN embedding TYPE vector(512)")
        connection.execute("ALTER TABLE galleries DROP COLUMN embedding_size")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    assert migrate(dsn) == "0003"
    asyncio.run(run(check))
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT attstorage, attstattarget, count(*) FROM pg_attribute JOIN pg_class"
            " ON pg_class.oid = attrelid WHERE attname = 'embedding' AND relname LIKE 'faces%'"
            " AND relnamespace = 'facegraph'::regnamespace GROUP BY 1, 2"
        ).fetchall()
    assert columns == [("e", 0, 17)]


def test_a_database_that_is_away_is_said_without_its_password() -> None:
    with pytest.raises(GalleryUnavailable) as raised:
        migrate("host=127.0.0.1 port=9 user=facegraph password=hidden connect_timeout=2")
    assert "hidden" not in raised.value.message
