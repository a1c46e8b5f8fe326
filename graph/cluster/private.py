"""Private Ray clusters on this machine: their caller starts and ends them."""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
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
from graph.serve_private import init_ray, shut_down_serve, without_usage_module

# gRPC logs a line for each process that a replica starts.
_ENVIRONMENT = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
# In the environment of a cluster's processes: the cluster's folder.
_MARK = "FACEGRAPH_CLUSTER_FOLDER"
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
    with signals_raise(), _variables(_ENVIRONMENT), own_folder() as folder, quiet_ray():
        _start_ray(folder, **ray_options)
        try:  # a cluster that did not start is not ours to shut down
            catch_signals()
            yield PrivateCluster(str(ray.get_runtime_context().gcs_address), folder)
        finally:
            shut_down()


def _start_ray(folder: Path, **ray_options: Any) -> None:
    """Start the cluster; a signal meanwhile ends it. Raises LaunchFailed if it does not start."""
    try:
        with without_usage_module(), _variables({_MARK: str(folder)}):
            init_ray(
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
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, for the processes that start meanwhile."""
    before = {name: os.environ[name] for name in wanted if name in os.environ}
    os.environ |= wanted
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name, None)
        os.environ |= before


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
    and their processes, such as HAProxy, which still has the port."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():  # another user's may hold links to our files
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    """Raises OSError if the folder has no lock, or a process has locked it."""
    with (folder / _LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the cluster's folder, and first the processes that would write there anew."""
    _kill_processes(folder)
    deadline = time.monotonic() + _REMOVAL_TIMEOUT_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def _kill_processes(folder: Path) -> None:
    """Kill the cluster's processes, and wait until they have ended.

    HAProxy outlives a killed owner, and Ray's agents a start that was ended.
    """
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    was_found = True
    while was_found and time.monotonic() < deadline:
        found = _processes(folder)
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)  # a process that is just starting shows no environment
        was_found = bool(found or _processes(folder))


def _processes(folder: Path) -> list[int]:
    """The ids of this user's processes that belong to the folder's cluster, on Linux."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _is_marked(process, folder) or _logs_into(process, folder):
                found.append(int(process.name))
    return found


def _is_marked(process: Path, folder: Path) -> bool:
    return os.fsencode(f"{_MARK}={folder}") in (process / "environ").read_bytes().split(b"\0")


def _logs_into(process: Path, folder: Path) -> bool:
    """True for a process that Ray has named, which overwrites a part of its environment."""
    if not (process / "cmdline").read_bytes().startswith(b"ray::"):
        return False
    return any(str(file.readlink()).startswith(f"{folder}/") for file in (process / "fd").iterdir())
