"""A command under strace: whom it and the processes that it starts contact, and what they write."""

import ipaddress
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SENDING = ("connect", "sendto", "sendmsg", "sendmmsg", "writev")
_WRITING = ("open", "openat", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2")
_WATCHED = ",".join(("socket", *_SENDING, *_WRITING))
_SOCKET = re.compile(r"<socket:\[(\d+)\]>")
_PEER = re.compile(r'port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
_PATH = re.compile(r'(?:<(?P<folder>/[^>]*)>)?[(, ]*"(?P<path>[^"]*)"')
_DNS = 53


@dataclass(frozen=True)
class Trace:
    """The system calls of a command's processes, one line each, as strace writes them.

    folder: in which the command ran.
    """

    folder: Path
    code: int
    output: str
    calls: tuple[str, ...]

    def contacts(self) -> list[str]:
        """The calls that contact another machine or look up a name.

        A UDP socket counts when data is sent: connecting it sends nothing, and programs do it to
        learn which of the machine's addresses they would use.
        """
        datagrams: set[str] = set()
        outside: set[str] = set()
        found = []
        for call in self.calls:
            name, sockets, peer = call.partition("(")[0], _SOCKET.findall(call), _PEER.search(call)
            if name == "socket" and "SOCK_DGRAM" in call:
                datagrams.update(sockets)
            elif peer and name in _SENDING:
                if not _is_outside(peer):
                    continue
                outside.update(sockets)
                if name != "connect" or not datagrams.issuperset(sockets):
                    found.append(call)
            elif name in _SENDING and outside.intersection(sockets):
                found.append(call)
        return found

    def written(self) -> set[Path]:
        """The files and folders that were made or opened for writing."""
        return {self.folder / path for path in map(_written, self.calls) if path}

    def written_elsewhere(self, *documented: Path) -> list[str]:
        """The files that are neither below one of the paths, nor temporary, nor shared memory, nor
        Python's compiled modules."""
        return sorted(
            str(path)
            for path in self.written()
            if not any(path.is_relative_to(one) or path in one.parents for one in documented)
            and "__pycache__" not in path.parts
            and not _is_temporary(path, self.folder)
        )


def strace(command: Sequence[str], *, folder: Path, environment: dict[str, str]) -> Trace:
    """Run the command in `folder`, and wait for it and all processes that it started.

    Raises FileNotFoundError without strace, RuntimeError if it can trace nothing.
    """
    log = folder / "strace.log"
    done = subprocess.run(
        [*watching(log), *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return trace_of(log, folder=folder, code=done.returncode, output=done.stdout)


def watching(log: Path) -> list[str]:
    """The words before a command which let strace watch it and write to `log`.

    Raises FileNotFoundError without strace.
    """
    program = shutil.which("strace")
    if program is None:
        raise FileNotFoundError("this needs strace: apt-get install strace")
    # --seccomp-bpf: other system calls do not stop the processes.
    options = ["-f", "--seccomp-bpf", "-y", "-s", "96", "-e", f"trace={_WATCHED}", "-o", str(log)]
    return [program, *options]


def watched(watcher: int) -> int:
    """The id of the command that strace, a process of that id, runs."""
    children = Path(f"/proc/{watcher}/task/{watcher}/children").read_text()
    return int(children.split()[0])


def trace_of(log: Path, *, folder: Path, code: int, output: str) -> Trace:
    """The trace of a command that has ended; raises RuntimeError if strace has traced nothing."""
    calls = tuple(_calls(log)) if log.exists() else ()
    if not calls:
        raise RuntimeError(f"strace traced nothing: {output}")
    return Trace(folder, code, output, calls)


def _calls(log: Path) -> Iterator[str]:
    """Whole calls: strace splits one in two if another process makes one meanwhile."""
    unfinished: dict[str, str] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            process, _, text = line.rstrip("\n").partition(" ")
            text = text.lstrip()
            if text.endswith("<unfinished ...>"):
                unfinished[process] = text.removesuffix("<unfinished ...>")
                continue
            if text.startswith("<... "):
                text = unfinished.pop(process, "") + text.partition("resumed>")[2]
            yield text
    yield from unfinished.values()


def _is_outside(peer: re.Match[str]) -> bool:
    port, address = int(peer[1]), ipaddress.ip_address(peer[2])
    if port == _DNS:  # a name server on this machine asks others
        return True
    mapped = getattr(address, "ipv4_mapped", None) or address
    return not (mapped.is_loopback or mapped.is_unspecified or _is_own(str(mapped)))


def _is_own(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _is_temporary(path: Path, current: Path) -> bool:
    """True for a temporary file, shared memory or a device that is not below `current`."""
    places = (tempfile.gettempdir(), "/dev", "/proc")
    return not path.is_relative_to(current) and any(map(path.is_relative_to, places))


def _written(call: str) -> Path | None:
    name = call.partition("(")[0]
    if name not in _WRITING or " = -1 " in call:
        return None
    if name.startswith("open") and not re.search("O_CREAT|O_WRONLY|O_RDWR", call):
        return None
    *_, last = _PATH.finditer(call)  # of two paths of a rename, the new one
    return Path(last["folder"] or "") / last["path"]
