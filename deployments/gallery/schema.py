"""The database's schema: its version, and its migrations by Alembic."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from deployments.errors import GalleryUnavailable

SCHEMA = "facegraph"
# The key of the advisory lock under which one process at a time migrates.
_LOCK = 0x46614772


def migrate(dsn: str) -> str:
    """Bring the schema up to this version of FaceGraph; return the schema's version.

    Several processes may do so at a time: one migrates, and the others find it done.
    Raises GalleryUnavailable for a schema of a newer FaceGraph, and without an answer.
    """
    try:
        return _migrate(dsn)
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise GalleryUnavailable(
            f"the galleries' database cannot be migrated: {first_line(cause)}"
        ) from None


def first_line(error: BaseException) -> str:
    """An error of PostgreSQL without its context, which may have a row's values."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _migrate(dsn: str) -> str:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    assert newest is not None
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool
    )
    with psycopg.connect(dsn, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        current = _current(lock)
        if current == newest:
            return newest
        known = {revision.revision for revision in script.walk_revisions()}
        if current is not None and current not in known:
            raise GalleryUnavailable(
                f"the galleries' database has the schema {current} of a newer FaceGraph; this one"
                f" knows {newest}: update FaceGraph"
            )
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return newest


def _current(connection: psycopg.Connection) -> str | None:
    """The schema's version, or None in an empty database."""
    found = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.alembic_version",)).fetchone()
    if found is None or found[0] is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {SCHEMA}.alembic_version").fetchone()
    return str(row[0]) if row else None
