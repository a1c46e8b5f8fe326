"""The processes of this machine."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LISTENS = "0A"  # a state in /proc/net/tcp
_SERVE_PORTS = range(30_000, 31_000)


def processes_of(folder: str) -> list[str]:
    """The command lines of the processes whose environment or command line names the folder."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            files = [(process / name).read_bytes() for name in ("environ", "cmdline")]
            if any(folder.encode() in content for content in files):
                found.append(files[1].replace(b"\0", b" ").decode())
    return found


def http_port_of(replica_pid: int) -> int:
    """The port at which an ingress replica takes HTTP requests: Serve's ports from 30000 on."""
    files = Path(f"/proc/{replica_pid}/fd").iterdir()
    opened = {os.readlink(file) for file in files if os.path.lexists(file)}
    for line in Path(f"/proc/{replica_pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        port = int(local.partition(":")[2], 16)
        if state == _LISTENS and f"socket:[{rest[5]}]" in opened and port in _SERVE_PORTS:
            return port
    raise LookupError(f"process {replica_pid} takes no HTTP requests")


def listeners(port: int) -> int:
    """The number of sockets that take connections at the port, by IPv4: several may share it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == _LISTENS for line in lines)


@contextmanager
def peak_growth_mib(pid: int) -> Iterator[Callable[[], float]]:
    """A function that returns by how many MiB the process's highest RSS in the block exceeds its
    RSS at the start."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    before = _peak_mib(pid)
    yield lambda: _peak_mib(pid) - before


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 1024


def descendant(ancestor: int, title: str) -> int:
    """The id of a process below `ancestor` whose program or title, the first word of the command
    line, contains `title`."""
    parents, found = {}, []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            number = int(process.name)
            parents[number] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            command = (process / "cmdline").read_bytes().partition(b"\0")[0].decode().split()
            if command and title in command[0]:
                found.append(number)
    for number in found:
        above = number
        while above := parents.get(above, 0):
            if above == ancestor:
                return number
    raise LookupError(f"process {ancestor} has no descendant {title}")
