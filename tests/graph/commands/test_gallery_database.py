"""`facegraph gallery migrate, backup, restore, check-recall`, with the embedded database."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from configs.gallery import EmbeddedServerConfig
from deployments.gallery.contracts import SearchQuery
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from graph.commands.main import app
from tests.support.galleries import axis, embedded, enrol, opened, with_gallery


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.yaml"
    gallery = {"enabled": True, "data_dir": str(tmp_path / "galleries")}
    application = {
        "name": "faces",
        "import_path": "graph.app:build_app",
        "args": {"gallery": gallery, "access": {"anonymous": True}},
    }
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["gallery", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_backup_brings_everything_back(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, dump, config = tmp_path / "galleries", tmp_path / "g.dump", ("--config", str(file))
    assert json.loads(run("migrate", "--json", *config)) == {"schema": "0003"}

    async def write(dsn: str, person: str, number: int) -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await enrol(store, person, axis(number), axis(number, towards=9, cosine=0.9))

    async def first(dsn: str, number: int) -> str:
        async with opened(dsn) as store:
            found = await store.search([embedded(axis(number))], SearchQuery("staff", top_k=1))
            return found.faces[0].candidates[0].person

    server = EmbeddedServer(folder, EmbeddedServerConfig(shared_buffers_mb=16)).start()
    try:
        server.wait()
        asyncio.run(write(server.dsn, "anna", 0))
        # The commands join the server that runs.
        assert str(dump) in run("backup", str(dump), *config)
        assert dump.stat().st_mode & 0o777 == 0o600
        asyncio.run(write(server.dsn, "berta", 1))
        assert "--replace" in run("restore", str(dump), *config, code=2)
        part = tmp_path / "part.dump"
        part.write_bytes(dump.read_bytes()[:-200])  # such a backup changes nothing
        assert "pg_restore" in run("restore", str(part), "--replace", *config, code=2)
        assert asyncio.run(first(server.dsn, 1)) == "berta"
        run("restore", str(dump), "--replace", *config)
        assert asyncio.run(first(server.dsn, 1)) == "anna"
        recall = json.loads(run("check-recall", "staff", "--json", *config))
        assert recall == {"searched": 2, "found": 2, "genuine": 2, "genuine_found": 2}
        [entry, *_] = json.loads(run("audit", "staff", "--json", *config))
        assert (entry["key"], entry["action"], entry["persons"]) == ("tests", "enrol", ["anna"])
        with monkeypatch.context() as patch:  # of all galleries, which no server is asked for
            patch.setenv("FACEGRAPH_URL", "http://127.0.0.1:1")
            assert "anna, 2 faces" in run("audit", *config)
        with psycopg.connect(server.dsn) as connection:
            connection.execute("DROP SCHEMA facegraph CASCADE")
        run("restore", str(dump), *config)  # into an empty database
        assert migrate(server.dsn) == "0003"
        assert asyncio.run(first(server.dsn, 0)) == "anna"
        assert "unknown" not in run("check-recall", "nobody", *config, code=2)
    finally:
        server.stop()
