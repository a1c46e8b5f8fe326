"""The physical removal of deleted faces.

PostgreSQL's DELETE hides a row, and its VACUUM leaves the row's bytes in the page. So the parts of
the table that the faces were in are written anew, without them. The write-ahead log had the faces
too: its files up to now are closed, and removed by a checkpoint.
"""

import asyncio
import time
from collections.abc import Iterable

import psycopg
from psycopg import sql

from deployments.gallery.database import Connection, Database
from deployments.gallery.schema import SCHEMA

_LOCK = 0x46614750  # key of the advisory lock under which one process at a time purges
_POLL_S = 0.02


async def note(connection: Connection, parts: Iterable[str]) -> None:
    """Note, in a deletion's transaction, the parts of `faces` that it deleted rows of."""
    for part in sorted(set(parts)):  # in order, or two deletions could wait for each other
        await connection.execute(
            "INSERT INTO unpurged VALUES (%s, pg_current_xact_id())"
            " ON CONFLICT (part) DO UPDATE SET deleted_by = excluded.deleted_by",
            (part,),
        )


async def purge(database: Database, *, timeout_s: float) -> bool:
    """Remove what was deleted so far from the disk.

    False if that takes longer, as while an old transaction can still see the rows: a later call
    does it. Also if the database's user may not end the write-ahead log, which has the faces until
    the server itself does.
    """
    try:
        return await asyncio.wait_for(_purge(database, timeout_s), timeout_s)
    except (TimeoutError, asyncio.TimeoutError):
        return False


async def _purge(database: Database, timeout_s: float) -> bool:
    async with database.alone() as connection:
        await connection.execute("SELECT set_config('search_path', %s, false)", (SCHEMA,))
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        parts = await _unpurged(connection)
        if not parts:
            return True
        await _wait_for_older(connection, max(parts.values()), time.monotonic() + timeout_s)
        for part in parts:
            table = sql.Identifier(SCHEMA, part)
            await connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(table))
        is_whole = await _end_log(connection)
        for part, deleted_by in parts.items():
            await connection.execute(
                "DELETE FROM unpurged WHERE part = %s AND deleted_by = %s::text::xid8",
                (part, str(deleted_by)),
            )
        return is_whole


async def _end_log(connection: Connection) -> bool:
    """Remove the write-ahead log up to now; False if the database's user may not."""
    try:
        # Later changes are logged in other files.
        await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


async def _unpurged(connection: Connection) -> dict[str, int]:
    """The last deletion's transaction by part."""
    rows = await (
        await connection.execute("SELECT part, deleted_by::text FROM unpurged")
    ).fetchall()
    return {part: int(deleted_by) for part, deleted_by in rows}


async def _wait_for_older(connection: Connection, deleted_by: int, until: float) -> None:
    """Wait for the transactions that can still see the deleted rows."""
    while time.monotonic() < until:
        row = await (
            await connection.execute(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database() AND (age(backend_xmin) >= age(x.xid)"
                " OR age(backend_xid) >= age(x.xid)))"
                " FROM (SELECT %s::text::xid8::xid AS xid) AS x",
                (str(deleted_by),),
            )
        ).fetchone()
        if row == (False,):
            return
        await asyncio.sleep(_POLL_S)
    raise TimeoutError
