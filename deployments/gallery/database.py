"""Connections to the galleries' database."""

import asyncio
import math
import select
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.errors import DiskFull, ForeignKeyViolation, UniqueViolation
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from configs.gallery import GalleryConfig
from deployments.errors import GalleryConflict, GalleryDiskFull, GalleryUnavailable
from deployments.gallery.schema import SCHEMA, first_line
from deployments.replica.workers import BusyTime

Connection = AsyncConnection[TupleRow]
_AWAY = "the galleries' database does not answer"
# Seconds for which the pool itself tries to connect again; afterwards each call does.
_RECONNECT_S = 1.0


class Database:
    """A pool of connections to a migrated database. Open it within a running event loop."""

    def __init__(
        self,
        dsn: str,
        config: GalleryConfig,
        *,
        folder: Path | None = None,
        busy_time: BusyTime | None = None,
    ) -> None:
        """folder: of the embedded server; None for a server that is not on this machine.

        busy_time: counts the time of transactions, without the wait for a connection.
        """
        self._dsn = dsn
        self._config = config
        self._folder = folder
        self._busy_time = busy_time or BusyTime(workers=config.max_connections)
        most = max(config.max_connections, config.min_connections)
        # Calls wait here for a busy database, until their requests' deadlines; in the pool they
        # wait for one that does not answer.
        self._room = asyncio.Semaphore(most)
        self._is_away_until = -math.inf  # time.monotonic()
        self._pool = AsyncConnectionPool[Connection](
            dsn,
            min_size=config.min_connections,
            max_size=most,
            open=False,
            timeout=config.connect_timeout_s,
            reconnect_timeout=_RECONNECT_S,
            configure=self._configure,
            check=_require_open,
            kwargs={"connect_timeout": max(2, round(config.connect_timeout_s))},
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def require_room(self, *, deletes: bool = False) -> None:
        """Raises GalleryDiskFull if the embedded server's disk has too little room for a change. A
        deletion, which makes room, needs a quarter.

        PostgreSQL itself ends if it cannot write its log, and starts only when it can.
        """
        if self._folder is None:
            return
        free_mb = shutil.disk_usage(self._folder).free // 2**20
        least_mb = self._config.embedded.min_free_mb // (4 if deletes else 1)
        if free_mb < least_mb:
            raise self._disk_full(
                f"{free_mb} MiB are free, and at least {least_mb} are needed"
                " (gallery.embedded.min_free_mb)"
            )

    def _disk_full(self, cause: str) -> GalleryDiskFull:
        return GalleryDiskFull(
            f"the disk of the galleries' database is full: {cause}",
            retry_after_s=self._config.retry_after_s,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection with a transaction, which is committed at the end.

        Raises GalleryUnavailable if the database does not answer or is too slow, GalleryDiskFull if
        it has no room, and GalleryConflict if another transaction came first.
        """
        try:
            async with self._room:
                if time.monotonic() < self._is_away_until:
                    raise self.unavailable(_AWAY)
                async with self._pool.connection() as connection:
                    with self._busy_time.counted():
                        yield connection
        except PoolTimeout:
            # The calls that wait behind this one are answered at once.
            self._is_away_until = time.monotonic() + self._config.retry_after_s
            raise self.unavailable(_AWAY) from None
        except (UniqueViolation, ForeignKeyViolation):
            raise GalleryConflict(
                "another call stored or deleted the same thing at the same time; try again"
            ) from None
        except DiskFull as error:
            raise self._disk_full(first_line(error)) from None
        except psycopg.Error as error:
            self._raise_if_away(error)
            raise

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Connection]:
        """A connection of its own without a transaction or a time limit, as VACUUM needs it."""
        try:
            connection = await AsyncConnection.connect(self._dsn, autocommit=True)
            async with connection:
                yield connection
        except psycopg.Error as error:
            self._raise_if_away(error)
            raise

    def _raise_if_away(self, error: psycopg.Error) -> None:
        """Raises GalleryUnavailable for a server that went away, or that cannot serve now.

        The answer of a connection that breaks may have no code, and then no class of its own.
        """
        kinds = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
        if isinstance(error, kinds) or type(error) is psycopg.DatabaseError:
            raise self.unavailable(f"{_AWAY}: {first_line(error)}") from None

    def unavailable(self, message: str) -> GalleryUnavailable:
        return GalleryUnavailable(message, retry_after_s=self._config.retry_after_s)

    async def _configure(self, connection: Connection) -> None:
        await connection.set_autocommit(True)
        settings: dict[str, Any] = {
            "statement_timeout": f"{round(self._config.statement_timeout_s * 1000)}",
            "timezone": "UTC",
            # A statement is planned once: with its sixteen parts this takes as long as a search.
            # By an index, so that the plan of a small table holds when the table has grown.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "jit": "off",
        }
        for name, value in settings.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        # pgvector may be in any schema that the database's own path names.
        await connection.execute(
            "SELECT set_config('search_path', %s || current_setting('search_path'), false)",
            (f"{SCHEMA}, ",),
        )
        await register_vector_async(connection)
        await connection.set_autocommit(False)


async def plan_by_values(connection: Connection) -> None:
    """Have the transaction's next statements planned for their values, each time: for those whose
    best plan depends on them, as with a filter."""
    await connection.execute(
        "SELECT set_config('plan_cache_mode', 'force_custom_plan', true),"
        " set_config('enable_seqscan', 'on', true)"
    )


async def _require_open(connection: Connection) -> None:
    """Raises OperationalError if the server has closed the connection, which the pool then
    replaces. An open one sends nothing unasked: then the server is not asked."""
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if socket.poll(0):
        await AsyncConnectionPool.check_connection(connection)
