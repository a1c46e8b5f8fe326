"""An embedded PostgreSQL server for the tests of galleries, and an empty database for each."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from configs.gallery import EmbeddedServerConfig
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("galleries")
    server = EmbeddedServer(folder, EmbeddedServerConfig(shared_buffers_mb=64)).start()
    server.wait()
    migrate(server.dsn)
    yield server
    server.stop()


@pytest.fixture
def dsn(server: EmbeddedServer) -> str:
    """A migrated database without rows."""
    with psycopg.connect(server.dsn) as connection:
        connection.execute(
            "TRUNCATE facegraph.faces, facegraph.persons, facegraph.galleries, facegraph.audit,"
            " facegraph.unpurged"
        )
    return server.dsn


@pytest.fixture
def data_folder(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's files."""
    return Path(server.dsn.split("host=")[1].split(" ")[0])
