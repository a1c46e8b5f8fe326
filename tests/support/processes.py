"""The processes of this machine."""

from contextlib import suppress
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
