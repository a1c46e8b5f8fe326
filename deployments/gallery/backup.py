"""Backups of the galleries' database, by PostgreSQL's own commands."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from deployments.errors import GalleryConflict, GalleryUnavailable
from deployments.gallery.schema import SCHEMA, migrate
from deployments.gallery.server import binaries

# The parameters of a connection as pg_dump takes them from its environment, out of sight of ps.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}

_FIRST = f"""
BEGIN;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
"""
# Another server's transactions mean nothing in this one, whose graph is to find the faces at once.
_LAST = f"""
DO $$ BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('{SCHEMA}.faces') AND attname = 'stored_in'
    ) THEN
        ALTER TABLE {SCHEMA}.faces ALTER COLUMN stored_in TYPE xid8 USING pg_current_xact_id();
    END IF;
END $$;
COMMIT;
"""


def backup(dsn: str, file: Path) -> None:
    """Write all galleries to a file that only this user can read; it appears when it is whole.

    The backup is of one moment, and the galleries may be written meanwhile.
    Raises GalleryUnavailable with pg_dump's reason.
    """
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    try:
        options = ("--format=custom", f"--schema={SCHEMA}", "--no-owner", f"--file={unfinished}")
        _run("pg_dump", options, dsn)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def restore(dsn: str, file: Path, *, replace: bool = False) -> None:
    """Bring back a backup's galleries, all or none, and migrate them to this version's schema.

    replace: delete those that there are. Raises GalleryConflict if there are some and they are to
    stay, GalleryUnavailable with pg_restore's or psql's reason.
    """
    if not replace and _has_galleries(dsn):
        raise GalleryConflict("the database has galleries already: --replace deletes them")
    _restore(dsn, file)
    migrate(dsn)


def _restore(dsn: str, file: Path) -> None:
    """Pipe pg_restore's script through psql, within a transaction that a whole script alone ends.

    pg_restore itself could not replace tables that have parts.
    """
    read = [_path("pg_restore"), "--no-owner", "--file=-", str(file)]
    write = [_path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]
    with (
        subprocess.Popen(read, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader,
        subprocess.Popen(
            write,
            env=_environment("psql", dsn),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as writer,
    ):
        assert reader.stdout is not None
        assert writer.stdin is not None
        with suppress(BrokenPipeError), writer.stdin as script:
            script.write(_FIRST.encode())
            shutil.copyfileobj(reader.stdout, script)
            if reader.wait() == 0:
                script.write(_LAST.encode())
        reader.stdout.close()
        reasons = [one.stderr.read().decode() if one.stderr else "" for one in (writer, reader)]
    ended = {"psql": writer, "pg_restore": reader}
    for (command, process), reason in zip(ended.items(), reasons, strict=True):
        _require_success(command, process.returncode, reason)


def _has_galleries(dsn: str) -> bool:
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"SELECT EXISTS (SELECT FROM {SCHEMA}.galleries)").fetchone()
    return row == (True,)


def _run(command: str, options: Sequence[str], dsn: str) -> None:
    done = subprocess.run(
        [_path(command), *options],
        env=_environment(command, dsn),
        capture_output=True,
        text=True,
        check=False,
    )
    _require_success(command, done.returncode, done.stderr)


def _path(command: str) -> str:
    """The embedded server's command, or else the machine's."""
    try:
        return str(binaries() / command)
    except GalleryUnavailable:
        return shutil.which(command) or command


def _environment(command: str, dsn: str) -> dict[str, str]:
    given = conninfo_to_dict(dsn)
    unknown = given.keys() - _VARIABLES.keys()
    if unknown:
        raise GalleryUnavailable(
            f"{command} cannot be told the DSN's {', '.join(sorted(unknown))}: run it yourself"
        )
    variables = {_VARIABLES[name]: str(value) for name, value in given.items() if value is not None}
    return os.environ | variables


def _require_success(command: str, code: int, stderr: str) -> None:
    """Raises GalleryUnavailable with the first error's line: later ones may have a row."""
    if code:
        lines = stderr.strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        [reason, *_] = [*errors, *lines, f"exit code {code}"]
        raise GalleryUnavailable(f"{command}: {reason}")
