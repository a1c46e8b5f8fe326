"""The processes of this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def processes_of(folder: str) -> list[str]:
    """The command lines of the processes whose environment or command line names the folder."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            files = [(process / name).read_bytes() for name in ("environ", "cmdline")]
            if any(folder.encode() in content for content in files):
                found.append(files[1].replace(b"\0", b" ").decode())
    return found


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
