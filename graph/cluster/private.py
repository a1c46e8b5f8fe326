"""Private Ray clusters on this machine: their caller starts and ends them."""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from graph.client.cluster import quiet_ray
from graph.cluster.preflight import LaunchFailed, check_paths
from graph.cluster.progress import reason_of
from graph.cluster.signals import catch_signals, signals_ignored, signals_raise
from graph.serve_private import shut_down_serve, without_usage_module

# gRPC logs a line for each process that a replica starts.
_ENVIRONMENT = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
_PREFIX, _LOCK = "facegraph-", "owner.lock"
_KILL_TIMEOUT_S, _REMOVAL_TIMEOUT_S = 2.0, 5.0


@dataclass(frozen=True)
class PrivateCluster:
    """address: of the cluster, for `ray.init`. folder: its files, removed when it ends."""

    address: str
    folder: Path


@contextmanager
def own_cluster(**ray_options: Any) -> Iterator[PrivateCluster]:
    """Start a private Ray cluster, which ends with the block.

    SIGINT and SIGTERM raise in the block, as `signals_raise` does; a second signal does not wait
    for unfinished requests. Raises LaunchFailed as `check_paths`, and if Ray does not start.
    """
    check_paths()
    remove_remains()
    with signals_raise(), _variables(), own_folder() as folder, quiet_ray():
        _start_ray(folder, **ray_options)
        try:  # a cluster that did not start is not ours to shut down
            catch_signals()
            yield PrivateCluster(str(ray.get_runtime_context().gcs_address), folder)
        finally:
            shut_down()


def _start_ray(folder: Path, **ray_options: Any) -> None:
    """Start the cluster; a signal meanwhile ends it. Raises LaunchFailed if it does not start."""
    try:
        with without_usage_module():
            ray.init(
                address="local",
                _temp_dir=str(folder),
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                **ray_options,
            )
    except RayError as error:  # such as one of the token
        raise LaunchFailed(f"Ray did not start: {reason_of(str(error))}") from error
    except (KeyboardInterrupt, SystemExit) as stopped:
        with signals_ignored():
            ray.shutdown()
        if isinstance(stopped, SystemExit):  # of Ray's own handler, whose code is 15
            stopped.code = 128 + signal.SIGTERM
        raise


def shut_down() -> None:
    """Shut Serve down and leave the cluster. A second signal does not wait for Serve."""
    with suppress(KeyboardInterrupt, SystemExit, RayError):
        shut_down_serve()
    with signals_ignored():
        ray.shutdown()


@contextmanager
def _variables() -> Iterator[None]:
    """Set the variables of the cluster's processes that the user has not set."""
    unset = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ |= unset
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder, which is locked until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    draft = folder / "draft"
    with draft.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        draft.rename(folder / _LOCK)  # `remove_remains` never finds it unlocked
        try:
            yield folder
        finally:
            with signals_ignored():
                _remove(folder)


def remove_remains() -> None:
    """Remove what killed owners of clusters left: this user's folders that no process has locked,
    and HAProxy, which still has the port."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():  # another user's may hold links to our files
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    """Raises OSError if the folder has no lock, or a process has locked it."""
    with (folder / _LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _kill_haproxy(folder)
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the folder, in which Ray's processes that are ending may still write."""
    deadline = time.monotonic() + _REMOVAL_TIMEOUT_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def _kill_haproxy(folder: Path) -> None:
    """Kill the HAProxy that has its configuration in the folder, and wait until it has ended."""
    for process in Path("/proc").glob("[0-9]*"):  # Linux, as is Serve's HAProxy
        with suppress(OSError):
            program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
            uses_folder = any(one.startswith(os.fsencode(f"{folder}/")) for one in arguments)
            if uses_folder and program.endswith(b"/haproxy"):
                os.kill(int(process.name), signal.SIGKILL)
                deadline = time.monotonic() + _KILL_TIMEOUT_S
                while process.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
