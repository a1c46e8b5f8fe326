"""From the configuration to an open store: the server, the schema's migration, the connections."""

import asyncio
import logging
from contextlib import suppress

from configs.environment import gallery_dsn
from configs.gallery import GalleryConfig
from deployments.errors import FaceGraphError, GalleryUnavailable
from deployments.gallery.database import Database
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from deployments.gallery.store import Store
from deployments.replica.workers import BusyTime

logger = logging.getLogger("ray.serve")

# Seconds for which a check waits for the database's answer.
_CHECK_S = 1.0


def configured_dsn(config: GalleryConfig) -> str | None:
    """The operator's database; None for the embedded server. It has a password: never log it."""
    return config.dsn.get_secret_value() if config.dsn else gallery_dsn()


class StoreConnection:
    """A replica's store, which is opened in the background, however long the database is away."""

    def __init__(self, config: GalleryConfig, busy_time: BusyTime) -> None:
        self._config = config
        self._busy_time = busy_time
        dsn = configured_dsn(config)
        self._server = None if dsn else EmbeddedServer(config.data_dir, config.embedded)
        self._dsn = dsn or (self._server.dsn if self._server else "")
        self._store: Store | None = None
        self._opened = asyncio.Event()
        self.failure: str | None = "the galleries' database is being opened"
        self._task = asyncio.create_task(self._open())

    async def store(self) -> Store:
        """The open store. Raises GalleryUnavailable if it is not open in time."""
        if self._store is None:
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._opened.wait(), self._config.connect_timeout_s)
        if self._store is None:
            raise GalleryUnavailable(self.failure or "", retry_after_s=self._config.retry_after_s)
        return self._store

    async def check(self) -> None:
        """Ask the open database a question. Returns also if it is away, or too busy to answer soon:
        another process would do no better."""
        if self._store is None:
            return
        try:
            await asyncio.wait_for(self._store.ping(), _CHECK_S)
        except GalleryUnavailable as error:
            logger.warning("galleries: %s", error.message)
        except (TimeoutError, asyncio.TimeoutError):
            logger.warning("galleries: the database is slow to answer")

    async def close(self) -> None:
        self._task.cancel()
        if self._store:
            await self._store.close()
        if self._server:
            await asyncio.to_thread(self._server.stop)

    async def _open(self) -> None:
        if self._server:
            self._server.start()
        while not await self._is_prepared():  # noqa: ASYNC110
            await asyncio.sleep(self._config.retry_after_s)
        folder = self._config.data_dir.expanduser() if self._server else None
        database = Database(self._dsn, self._config, folder=folder, busy_time=self._busy_time)
        await database.open()
        self._store, self.failure = Store(database, self._config), None
        self._opened.set()
        while True:
            await asyncio.sleep(self._config.retention_interval_s)
            await _retain(self._store)

    async def _is_prepared(self) -> bool:
        try:
            await asyncio.to_thread(self._prepare)
        except Exception as error:
            known = isinstance(error, GalleryUnavailable)
            self.failure = str(error) if known else type(error).__name__
            logger.error("galleries: %s", self.failure)
            return False
        return True

    def _prepare(self) -> None:
        if self._server:
            self._server.wait()
        migrate(self._dsn)


async def _retain(store: Store) -> None:
    """Delete expired persons, and purge; if it fails, the next round does it."""
    try:
        await store.retain()
    except Exception as error:
        reason = error.message if isinstance(error, FaceGraphError) else type(error).__name__
        logger.error("galleries: expired persons are not deleted yet: %s", reason)
