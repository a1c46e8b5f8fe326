"""Memory and start-up, of the running graph and of each model alone: python -m benchmarks.footprint

The graph: serve_config.yaml on a cluster of its own, then some requests; every process of it. RSS
counts what a process shares with others in full, PSS by its part: PSS is what adds up. `ready` is
from the controller's asking for a replica until it saw it answer, `constructor` the part of it
that the stage's own code took, both as Serve's controller logs them. The driver, which is this
benchmark, is left out.

The models: each in a fresh process without Ray (benchmarks/start.py), one thread and one worker.
`ready` is from starting the process until it has answered a canary; `imports` and `load` are parts
of it. `after work` is the memory after a few photos of 640x480 or pairs of chips, `peak` the most
until then. `again` is a second start, with what OpenVINO compiled at the first one in its folder.
The models take turns; times and memory are medians over the rounds. Published models have random
weights.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.load import CONFIG, load, multipart, photo_640
from benchmarks.harness.results import report
from benchmarks.runtimes import weights_of
from configs.catalogue import CATALOGUE
from configs.model import Precision, Runtime
from deployments.inference.choice import openvino_computes_bfloat16
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

KIB = 1024
ACTOR = "ray::"
REPLICA = f"{ACTOR}ServeReplica:"
CACHE_VARIABLE = "FACEGRAPH_OPENVINO_CACHE"
FLOAT32: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
)
# As Serve's controller logs it; the second number is missing where it does not know.
STARTED = re.compile(r"after ([\d.]+)s \(PID: (\d+)\)\.(?:.* took ([\d.]+)s)?")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    arguments: tuple[str, ...]

    @property
    def title(self) -> str:
        """The stage's name for a replica, else the actor's, the script's or the program's."""
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
    rss_mib: float
    pss_mib: float
    peak_mib: float


@dataclass(frozen=True)
class ReplicaStart:
    """Seconds from being asked for, and of them in the stage's own code; None where not logged."""

    ready_s: float | None = None
    constructor_s: float | None = None


NO_REPLICA = ReplicaStart()


@dataclass(frozen=True)
class Member:
    """One process of the graph."""

    name: str
    start: ReplicaStart
    idle: Memory
    after: Memory


@dataclass(frozen=True)
class Way:
    """A model in a runtime; `weights` is a folder with random ones, None for the model's own."""

    model: str
    weights: Path | None
    runtime: Runtime
    precision: Precision

    def settings(self) -> dict[str, object]:
        kind = CATALOGUE[self.model].kind
        settings: dict[str, object] = {
            "kind": kind,
            "model": self.model,
            "weights": str(self.weights) if self.weights else None,
            "runtime": self.runtime,
            "precision": self.precision,
            "device": "cpu",
            "workers": 1,
        }
        # An empty photo shows no face, and would be looked at again, larger.
        return settings | ({"second_pass": "none"} if kind == "detector" else {})


@dataclass(frozen=True)
class Start:
    ready_s: float
    import_s: float
    load_s: float
    idle: Memory
    after: Memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="starts of each model")
    parser.add_argument("--seconds", type=float, default=15, help="of requests to the graph")
    options = parser.parse_args()
    report_graph(*graph_members(options.seconds))
    with tempfile.TemporaryDirectory() as folder:
        report_models(model_starts(ways(Path(folder)), options.rounds))


def graph_members(seconds: float) -> tuple[list[Member], float]:
    """Every process of a graph that answered requests for so long, and the seconds until it ran."""
    photos = {"source": photo_640("gdp.jpg"), "target": photo_640("players.jpg")}
    began = time.perf_counter()
    with own_graph(read_serve_file(CONFIG)) as graph:
        ready_s = time.perf_counter() - began
        idle = memories(descendants(os.getpid()))
        url = f"{graph.url}/v1/compare"
        asyncio.run(load(url, *multipart(photos), concurrency=8, seconds=seconds))
        return members(descendants(os.getpid()), idle), ready_s


def members(processes: Sequence[Process], idle: dict[int, Memory]) -> list[Member]:
    """What lived before the requests and after them, replicas first."""
    starts = replica_starts(processes)
    found = [
        Member(process.title, starts.get(process.pid, NO_REPLICA), idle[process.pid], memory)
        for process in sorted(processes, key=lambda process: (not process.is_replica, process.pid))
        if process.pid in idle and (memory := memory_of(process.pid))
    ]
    if not any(process.is_replica for process in processes):
        raise SystemExit("no process of a replica found below this one")
    return found


def descendants(root: int) -> list[Process]:
    """The processes that a process started, and those that they started, without itself."""
    below = {root}
    # Parents before children, whatever their ids.
    waiting, found = list(all_processes()), list[Process]()
    while taken := [process for process in waiting if process.parent in below]:
        found += taken
        below = {process.pid for process in taken}
        waiting = [process for process in waiting if process not in taken]
    return found


def all_processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in brackets may hold spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        words = tuple(word.strip() for word in arguments.split("\0") if word.strip())
        if words:  # a kernel thread or a zombie has none
            yield Process(int(folder.name), int(fields[1]), words)


def memories(processes: Sequence[Process]) -> dict[int, Memory]:
    found = {process.pid: memory_of(process.pid) for process in processes}
    return {pid: memory for pid, memory in found.items() if memory}


def memory_of(pid: int) -> Memory | None:
    """None for a process that has ended."""
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


def replica_starts(processes: Sequence[Process]) -> dict[int, ReplicaStart]:
    """By process id, from the logs of Serve's controller."""
    flags = [word for process in processes for word in process.arguments]
    logs = {Path(flag.partition("=")[2]) for flag in flags if flag.startswith("--log_dir=")}
    files = [file for folder in logs for file in folder.glob("serve/controller_*.log")]
    return {
        int(pid): ReplicaStart(float(ready), float(constructor) if constructor else None)
        for file in files
        for ready, pid, constructor in STARTED.findall(file.read_text(errors="replace"))
    }


def ways(folder: Path) -> list[Way]:
    """The default models in every runtime that runs their files; the published ones in float32."""
    half: list[tuple[Runtime, Precision]] = (
        [("openvino", "bfloat16")] if openvino_computes_bfloat16() else []
    )
    default = [("retinaface-mnet025", FLOAT32), ("arcface-mbf", (*FLOAT32, *half))]
    published = (("torch", "float32"), *FLOAT32)
    return [Way(model, None, *way) for model, found in default for way in found] + [
        Way(model, weights, *way)
        for model in ("arcface-ir50", "retinaface-r50")
        for weights in (weights_of(model, folder),)
        for way in published
    ]


def model_starts(found: Sequence[Way], rounds: int) -> dict[tuple[Way, bool], list[Start]]:
    """Starts by way and whether it was a second one."""
    starts: dict[tuple[Way, bool], list[Start]] = {}
    for _ in range(rounds):
        for way in found:
            with tempfile.TemporaryDirectory() as cache:
                for again in (False, True) if way.runtime == "openvino" else (False,):
                    starts.setdefault((way, again), []).append(start(way, cache))
    return starts


def start(way: Way, cache: str) -> Start:
    """A process's way to its first answer, and its memory then and after some work."""
    began = time.time()
    with child(way, cache) as process:
        first = json.loads(line_of(process))
        idle = memory_of(process.pid)
        say(process, "work")
        line_of(process)
        after = memory_of(process.pid)
    if not idle or not after:
        raise SystemExit(f"{way}: the process ended too early")
    return Start(first["answered_at"] - began, first["import_s"], first["load_s"], idle, after)


@contextmanager
def child(way: Way, cache: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.start", json.dumps(way.settings())],
        env=os.environ | {CACHE_VARIABLE: cache},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # closes its input, which ends it, and waits
        yield process


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit("benchmarks.start failed; its message stands above")
    return line


def say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def report_graph(found: Sequence[Member], ready_s: float) -> None:
    rows: list[Sequence[object]] = [
        (
            member.name,
            seconds(member.start.ready_s),
            seconds(member.start.constructor_s),
            *figures(member.idle.rss_mib, member.after.rss_mib, member.after.pss_mib),
        )
        for member in found
    ]
    total = sum(member.after.pss_mib for member in found)
    rows.append(("together", seconds(ready_s), "", "", "", f"{total:.0f}"))
    bars = [(member.name, member.after.pss_mib) for member in found]
    report(
        "footprint_graph",
        "Every process of the graph (serve_config.yaml), after requests",
        ("process", "ready s", "constructor s", "RSS MiB when ready", "RSS MiB", "PSS MiB"),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "PSS, MiB"),
        raw={"ready_s": ready_s, "processes": [asdict(member) for member in found]},
    )


def report_models(starts: dict[tuple[Way, bool], list[Start]]) -> None:
    bars = [
        (" ".join(label(*key)), middle(runs, lambda run: run.ready_s))
        for key, runs in starts.items()
    ]
    raw = [
        {"start": label(*key), "runs": [asdict(run) for run in runs]}
        for key, runs in starts.items()
    ]
    columns = ("model", "runtime", "start", "ready s", "imports s", "load s")
    report(
        "footprint_models",
        "A model in a process of its own, without Ray",
        (*columns, "RSS MiB when ready", "after work", "peak"),
        [(*label(*key), *start_cells(runs)) for key, runs in starts.items()],
        draw=lambda axes: draw_bars(axes, bars, "seconds until ready"),
        raw=raw,
    )


def label(way: Way, again: bool) -> tuple[str, str, str]:
    return way.model, f"{way.runtime} {way.precision}", "again" if again else "first"


def start_cells(runs: Sequence[Start]) -> tuple[str, ...]:
    times = (
        middle(runs, lambda run: run.ready_s),
        middle(runs, lambda run: run.import_s),
        middle(runs, lambda run: run.load_s),
    )
    memory = (
        middle(runs, lambda run: run.idle.rss_mib),
        middle(runs, lambda run: run.after.rss_mib),
        middle(runs, lambda run: run.after.peak_mib),
    )
    return (*(f"{value:.2f}" for value in times), *figures(*memory))


def middle(runs: Sequence[Start], figure: Callable[[Start], float]) -> float:
    return median(figure(run) for run in runs)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def figures(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.0f}" for value in values)


def draw_bars(axes: Any, bars: Sequence[tuple[str, float]], unit: str) -> None:
    """Horizontal bars, the first one on top; names may repeat."""
    places = range(len(bars))
    axes.barh(places, [value for _, value in bars])
    axes.set_yticks(places, [name for name, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(unit)


if __name__ == "__main__":
    main()
