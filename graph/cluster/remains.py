"""The folders of private clusters: made and locked by their owners, removed with every process that
belongs to them. Imports no Ray."""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graph.cluster.signals import signals_ignored

# In the environment of a cluster's processes: the cluster's folder.
MARK = "FACEGRAPH_CLUSTER_FOLDER"
_PREFIX, _LOCK = "facegraph-", "owner.lock"
_KILL_TIMEOUT_S, _REMOVAL_TIMEOUT_S = 2.0, 5.0


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
    return os.fsencode(f"{MARK}={folder}") in (process / "environ").read_bytes().split(b"\0")


def _logs_into(process: Path, folder: Path) -> bool:
    """True for a process that Ray has named, which overwrites a part of its environment."""
    if not (process / "cmdline").read_bytes().startswith(b"ray::"):
        return False
    return any(str(file.readlink()).startswith(f"{folder}/") for file in (process / "fd").iterdir())
