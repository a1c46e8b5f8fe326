"""The processes below this one, as /proc shows them: their names, memory and CPU time."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ACTOR = "ray::"
REPLICA = f"{ACTOR}ServeReplica:"
KIB = 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    arguments: tuple[str, ...]

    @property
    def title(self) -> str:
        """The stage's name for a replica, else the name of the actor, script or program."""
        first = self.arguments[0]
        if first.startswith(ACTOR):
            # While a method runs, its name follows the actor's.
            actor = first.removeprefix(ACTOR).partition(".")[0]
            return actor.partition(":")[2].partition(":")[2] if self.is_replica else actor
        script = next((part for part in self.arguments if part.endswith(".py")), first)
        return Path(script).name

    @property
    def is_replica(self) -> bool:
        return self.arguments[0].startswith(REPLICA)


@dataclass(frozen=True)
class Memory:
    """A process's memory: RSS counts shared pages in full, PSS counts this process's part of them.
    peak_mib: the highest RSS."""

    rss_mib: float
    pss_mib: float
    peak_mib: float


def descendants(root: int) -> list[Process]:
    """All direct and indirect children of a process."""
    below = {root}
    # Level by level: a child's id may be lower than its parent's.
    waiting, found = list(_all_processes()), list[Process]()
    while taken := [process for process in waiting if process.parent in below]:
        found += taken
        below = {process.pid for process in taken}
        waiting = [process for process in waiting if process not in taken]
    return found


def memory_of(pid: int) -> Memory | None:
    """The memory of a process; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = [
            *(folder / "smaps_rollup").read_text().splitlines()[1:],
            *(folder / "status").read_text().splitlines(),
        ]
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines)
    rss, pss, peak = (int(values[key].split()[0]) / KIB for key in ("Rss", "Pss", "VmHWM"))
    return Memory(rss, pss, peak)


def rss_mib(processes: Sequence[Process]) -> dict[str, float]:
    """RSS in MiB of the processes that have not ended, the sum for each title."""
    found: dict[str, float] = defaultdict(float)
    for process in processes:
        memory = memory_of(process.pid)
        if memory:
            found[process.title] += memory.rss_mib
    return dict(found)


def memories(processes: Sequence[Process]) -> dict[int, Memory]:
    found = {process.pid: memory_of(process.pid) for process in processes}
    return {pid: memory for pid, memory in found.items() if memory}


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used. Raises OSError if it has ended."""
    user, system = _stat(Path(f"/proc/{pid}"))[11:13]
    return (int(user) + int(system)) / TICKS_PER_S


def _all_processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(_stat(folder)[1])
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        words = tuple(word.strip() for word in arguments.split("\0") if word.strip())
        if words:  # a kernel thread or a zombie has none
            yield Process(int(folder.name), parent, words)


def _stat(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may hold spaces."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
