"""Serve's HAProxy: guarded, started again if it dies, and taken over if its manager died.

Beside graph/serve_private.py the only file with private names of Serve: importing HAProxy's manager
takes memory in every process that does, and only two per node need it. All were checked in the
source of Ray 2.60.0:
- HAProxyApi: HAProxyManager, the actor that Serve runs on each node, starts, reloads and ends
  HAProxy through the class of this name in its module. The actor is pickled by value with the
  controller's globals, so a class set there is the one it uses.
- HAProxyApi.cfg, config_file_path, _proc, _generate_config_file_internal, _graceful_reload,
  _start_and_wait_for_haproxy and _get_running_pid, in the class below. Serve has no setting for a
  line of HAProxy's configuration, and notices the death of HAProxy by three failed health checks.
- the module's `asyncio`, with which HAProxyApi starts the process.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.serve._private import haproxy

from configs.environment import haproxy_variables
from configs.haproxy import haproxy_settings
from graph.haproxy import guarded, most_connections, open_files, write_error_files

# Seconds between two looks at the process, and after a start that failed.
_POLL_S, _RETRY_S = 0.1, 0.5

logger = logging.getLogger("ray.serve")


class SupervisedHAProxy(haproxy.HAProxyApi):
    """Serve's HAProxyApi, with a guarded configuration and a supervisor of the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _start_in_own_sessions()
        self._settings = haproxy_settings(haproxy_variables())
        self._error_files = Path(self.config_file_path).parent / "errors"
        write_error_files(self._error_files)
        # Held by whoever replaces the process.
        self._replacing = asyncio.Lock()
        self._supervisor: asyncio.Task[None] | None = None

    def _generate_config_file_internal(self) -> None:
        """Write the file in one step: a process that is starting may read it."""
        file = self.config_file_path
        draft = Path(f"{file}.draft")
        self.config_file_path = str(draft)
        try:
            super()._generate_config_file_internal()
        finally:
            self.config_file_path = file
        text = guarded(
            draft.read_text(),
            self._settings,
            maxconn=most_connections(self.cfg.maxconn, open_files()),
            error_files=self._error_files,
        )
        draft.write_text(text)
        draft.replace(file)

    async def start(self) -> None:
        """Start HAProxy, unless the one of a dead manager runs: it has the ports, and the routes,
        which this manager does not know before its first reload."""
        async with self._replacing:
            if await self._get_running_pid() is None:
                await super().start()
        self._supervisor = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            if self._has_died():
                async with self._replacing:
                    if not await self._revived():
                        await asyncio.sleep(_RETRY_S)

    def _has_died(self) -> bool:
        return self._proc is not None and self._proc.returncode is not None

    async def _revived(self) -> bool:
        """Start the process again if it has died; False if that failed."""
        if self._proc is None or self._proc.returncode is None:
            return True
        logger.error("HAProxy died (%s) and is started again", self._proc.returncode)
        try:
            self._proc = await self._start_and_wait_for_haproxy()
        except Exception:
            logger.exception("HAProxy did not start")
            return False
        return True

    async def _graceful_reload(self) -> None:
        async with self._replacing:
            if self._proc is None:
                await self._take_over()
            elif not self._has_died():
                try:
                    await super()._graceful_reload()
                except Exception:
                    if not self._has_died():
                        raise
            # It starts with the new configuration.
            if not await self._revived():
                raise RuntimeError("HAProxy did not start")

    async def _take_over(self) -> None:
        """Start HAProxy in place of a dead manager's, which hands over its listeners."""
        pid = await self._get_running_pid()
        logger.warning("HAProxy %s outlived its manager and is replaced", pid)
        options = ("-sf", str(pid), "-x", self.cfg.socket_path) if pid else ()
        self._proc = await self._start_and_wait_for_haproxy(*options)

    async def stop(self) -> None:
        if self._supervisor:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
        if self._proc is None and (pid := await self._get_running_pid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await super().stop()


def _start_in_own_sessions() -> None:
    """Let HAProxy outlive its manager: Ray kills the process group of an actor that has died."""
    own_session = partial(asyncio.create_subprocess_exec, start_new_session=True)
    changed = vars(asyncio) | {"create_subprocess_exec": own_session}
    haproxy.asyncio = SimpleNamespace(**changed)  # type: ignore[assignment,attr-defined]


def supervise_haproxy() -> None:
    """Let the proxies that this process, Serve's controller, starts run a supervised HAProxy."""
    haproxy.HAProxyApi = SupervisedHAProxy  # type: ignore[misc]
