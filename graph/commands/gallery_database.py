"""`facegraph gallery migrate, backup, restore, check-recall, audit`: the galleries' database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from configs.extras import install_command
from deployments.errors import InvalidConfig
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    open_graph,
    print_json,
    print_table,
    writable_file,
)

if TYPE_CHECKING:  # these load PostgreSQL's client, or Ray
    from configs.gallery import GalleryConfig
    from deployments.gallery.contracts import AuditEntry
    from deployments.gallery.store import Store

database_app = typer.Typer()
Answer = TypeVar("Answer")
# Recall of faces at the threshold under which check-recall answers no.
_LOWEST_RECALL = 0.999


def _config(file: Path) -> "GalleryConfig":
    from graph.cluster.serve_file import graph_config, read_serve_file  # loads Ray

    try:
        import deployments.gallery.store  # noqa: F401
    except ImportError as error:
        raise InvalidConfig(f"gallery needs {error.name}: {install_command('gallery')}") from error
    return graph_config(read_serve_file(file)).gallery


@contextmanager
def _database(config: "GalleryConfig") -> Iterator[str]:
    """The DSN of the configuration's database. An embedded server that does not run is started,
    and ends with the command."""
    from deployments.gallery.connection import configured_dsn
    from deployments.gallery.server import EmbeddedServer

    dsn = configured_dsn(config)
    if dsn is not None:
        yield dsn
        return
    server = EmbeddedServer(config.data_dir, config.embedded).start()
    try:
        server.wait()
        yield server.dsn
    finally:
        server.stop()


@database_app.command()
def migrate(file: ConfigOption = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """Bring the database of the galleries up to this version of FaceGraph, as a start does.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery migrate
    ```
    """
    config = _config(file)
    from deployments.gallery import schema

    with _database(config) as dsn:
        version = schema.migrate(dsn)
    if as_json:
        print_json({"schema": version})
    else:
        typer.echo(f"schema {version}")


@database_app.command()
def backup(
    backup_file: Annotated[Path, typer.Argument(help="The backup's file.", callback=writable_file)],
    file: ConfigOption = DEFAULT_FILE,
) -> None:
    """Write all galleries to a file, embeddings included, while they are in use.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery backup galleries.dump
    ```
    """
    config = _config(file)
    from deployments.gallery import backup as backups

    with _database(config) as dsn:
        backups.backup(dsn, backup_file)
    typer.echo(f"{backup_file}: {backup_file.stat().st_size} bytes")


@database_app.command()
def restore(
    backup_file: Annotated[
        Path, typer.Argument(help="The backup's file.", exists=True, dir_okay=False)
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the galleries that there are.")
    ] = False,
    file: ConfigOption = DEFAULT_FILE,
) -> None:
    """Bring back the galleries of a backup: all of them, or none if it fails.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery restore galleries.dump --replace
    ```
    """
    config = _config(file)
    from deployments.gallery import backup as backups

    with _database(config) as dsn:
        backups.restore(dsn, backup_file, replace=replace)
    typer.echo(f"{backup_file}: restored")


@database_app.command("check-recall")
def check_recall(
    gallery: Annotated[str, typer.Argument(help="The gallery's id.")],
    sample: Annotated[int, typer.Option(min=1, help="Most faces that are searched with.")] = 200,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Search by candidates with faces of a gallery, beside all cosines; exit 1 under 0.999.

    Each face is left out of its own search. The recall is the share of the faces whose most similar
    person the candidates find; the exit code is by those faces whose person is at the threshold.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery check-recall staff --sample 500
    ```
    """
    config = _config(file)
    with _database(config) as dsn:
        recall = asyncio.run(
            _asked(dsn, config, lambda store: store.check_recall(gallery, sample=sample))
        )
    if as_json:
        print_json(asdict(recall))
    else:
        typer.echo(
            f"{gallery}: {recall.found} of {recall.searched} faces found their first person;"
            f" {recall.genuine_found} of {recall.genuine} at the threshold"
        )
    if recall.genuine_found < _LOWEST_RECALL * recall.genuine:
        raise typer.Exit(NO)


@database_app.command()
def audit(
    context: typer.Context,
    gallery: Annotated[
        str | None, typer.Argument(help="The gallery's id; left out, all galleries.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Most entries, the newest first.")
    ] = 100,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """List who changed a gallery: the time, the API key's name, the action, and the ids.

    A server is asked for one gallery, the configuration's database for one or all: without a
    gallery, FACEGRAPH_URL is passed over.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery audit staff --limit 20
    facegraph gallery audit staff --url http://faces:8000
    ```
    """
    if gallery is None and url is not None:
        source = context.get_parameter_source("url")
        if source is None or source.name != "ENVIRONMENT":
            raise typer.BadParameter("--url: a server is asked for one gallery: name it")
    entries = _entries(gallery, limit, url, api_key, file)
    if as_json:
        print_json([asdict(entry) | {"at": entry.at.isoformat()} for entry in entries])
        return
    rows = [
        (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.key, entry.action, entry.gallery, _ids(entry))
        for entry in entries
    ]
    print_table(("at (UTC)", "key", "action", "gallery", "persons, faces"), rows)


def _entries(
    gallery: str | None, limit: int, url: str | None, api_key: str | None, file: Path
) -> "Sequence[AuditEntry]":
    from deployments.gallery.contracts import AuditEntry

    if url is None or gallery is None:
        config = _config(file)
        with _database(config) as dsn:
            page = asyncio.run(_asked(dsn, config, lambda store: store.audit(gallery, limit=limit)))
        return page.entries
    with open_graph(url, api_key=api_key, file=file) as graph:
        answer = graph.galleries.audit(gallery, limit=limit)
    return [
        AuditEntry(0, one.at, one.key, one.action, gallery, tuple(one.persons), tuple(one.faces))
        for one in answer.entries
    ]


def _ids(entry: "AuditEntry") -> str:
    faces = f"{len(entry.faces)} faces" if entry.faces else ""
    return ", ".join((*entry.persons, faces)).strip(", ")


async def _asked(
    dsn: str, config: "GalleryConfig", ask: "Callable[[Store], Awaitable[Answer]]"
) -> Answer:
    """The store's answer to one question, from a migrated database."""
    from deployments.gallery.database import Database
    from deployments.gallery.schema import migrate
    from deployments.gallery.store import Store

    await asyncio.to_thread(migrate, dsn)
    database = Database(dsn, config)
    await database.open()
    store = Store(database, config)
    try:
        return await ask(store)
    finally:
        await store.close()
