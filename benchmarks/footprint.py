"""Memory, CPU when idle, and start-up: python -m benchmarks.footprint [--only graph]

The graph: serve_config.yaml on a cluster of its own, every process of it, before and after some
requests. RSS counts shared pages in full, PSS by each process's part: only PSS can be added up.
`idle %` is the share of a core that a process takes while nobody asks.
`ready` is the time from the controller's request for a replica until the replica answered it,
`constructor` the part of the stage's own code, both from the log of Serve's controller. The driver,
which is this benchmark, is left out.

The models: each in a fresh process without Ray (benchmarks/harness/start_model.py), one thread and
one worker. `ready` is the time from the process's start until it has answered a canary; `imports`
and `load` are parts of it. `after work` is the memory after a few photos of 640x480 or pairs of
chips, `peak` the highest until then. `again` is a second start, with the model that OpenVINO
compiled at the first one in its cache. The models alternate; times and memory are medians over the
rounds. Published models have stand-in weights.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness.load import CONFIG, measure, two_groups
from benchmarks.harness.processes import Memory, Process, cpu_s, descendants, memories, memory_of
from benchmarks.harness.results import draw_bars, report
from configs.catalogue import CATALOGUE
from configs.model import Precision, Runtime
from deployments.inference.machine import Machine
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.published_models import save_models

CACHE_VARIABLE = "FACEGRAPH_OPENVINO_CACHE"
FLOAT32: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
)
SETTLING_S = 10.0  # from the graph's start until its CPU time is that of an idle one
# A line of Serve's controller; the second number is missing if the controller does not know it.
STARTED = re.compile(r"after ([\d.]+)s \(PID: (\d+)\)\.(?:.* took ([\d.]+)s)?")


@dataclass(frozen=True)
class ReplicaStart:
    """Seconds from the request for the replica, and those of the stage's own code, as logged."""

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
    idle_cores: float


@dataclass(frozen=True)
class Variant:
    """A model in a runtime. weights: a folder with stand-ins; None for the model's own."""

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
        # The photos are empty: a second pass would follow each.
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
    parser.add_argument("--idle-seconds", type=float, default=60, help="without a request")
    parser.add_argument("--only", choices=("graph",), help="leave out the models")
    options = parser.parse_args()
    report_graph(*graph_members(options.seconds, options.idle_seconds))
    if options.only:
        return
    with tempfile.TemporaryDirectory() as folder:
        report_models(model_starts(variants(Path(folder)), options.rounds))


def graph_members(seconds: float, idle_seconds: float) -> tuple[list[Member], float]:
    """Every process of a graph, before and after requests, and the seconds until it ran."""
    began = time.perf_counter()
    with own_graph(read_serve_file(CONFIG)) as graph:
        ready_s = time.perf_counter() - began
        time.sleep(SETTLING_S)
        cores = idle_cores(idle_seconds)
        idle = memories(descendants(os.getpid()))
        measure(graph.url, two_groups(), concurrency=8, seconds=seconds)
        return members(descendants(os.getpid()), idle, cores), ready_s


def idle_cores(seconds: float) -> dict[int, float]:
    """By process id, the cores that the processes below this one use within the seconds."""
    before = cpu_times()
    time.sleep(seconds)
    return {pid: (after - before.get(pid, 0)) / seconds for pid, after in cpu_times().items()}


def cpu_times() -> dict[int, float]:
    found = {}
    for process in descendants(os.getpid()):
        with suppress(OSError):
            found[process.pid] = cpu_s(process.pid)
    return found


def members(
    processes: Sequence[Process], idle: dict[int, Memory], cores: dict[int, float]
) -> list[Member]:
    """The processes that lived both before and after the requests, replicas first."""
    starts = replica_starts(processes)
    found = [
        Member(
            process.title,
            starts.get(process.pid, NO_REPLICA),
            idle[process.pid],
            memory,
            cores.get(process.pid, 0),
        )
        for process in sorted(processes, key=lambda process: (not process.is_replica, process.pid))
        if process.pid in idle and (memory := memory_of(process.pid))
    ]
    if not any(process.is_replica for process in processes):
        raise SystemExit("no process of a replica found below this one")
    return found


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


def variants(folder: Path) -> list[Variant]:
    """The default models in every runtime that runs their files; the published ones in float32."""
    half: list[tuple[Runtime, Precision]] = (
        [("openvino", "bfloat16")] if Machine().native_bfloat16 else []
    )
    default = [("retinaface-mnet025", FLOAT32), ("arcface-mbf", (*FLOAT32, *half))]
    published = (("torch", "float32"), *FLOAT32)
    return [Variant(model, None, *variant) for model, found in default for variant in found] + [
        Variant(model, weights, *variant)
        for model in ("arcface-ir50", "retinaface-r50")
        for weights in (save_models(folder, model) / model,)
        for variant in published
    ]


def model_starts(found: Sequence[Variant], rounds: int) -> dict[tuple[Variant, bool], list[Start]]:
    """Starts, by variant and by whether OpenVINO's cache was filled by an earlier start."""
    starts: dict[tuple[Variant, bool], list[Start]] = {}
    for _ in range(rounds):
        for variant in found:
            with tempfile.TemporaryDirectory() as cache:
                for again in (False, True) if variant.runtime == "openvino" else (False,):
                    starts.setdefault((variant, again), []).append(start(variant, cache))
    return starts


def start(variant: Variant, cache: str) -> Start:
    """A process's time to its first answer, and its memory then and after some work."""
    settings = json.dumps(variant.settings())
    command = [sys.executable, "-m", "benchmarks.harness.start_model", settings]
    began = time.time()
    done = subprocess.run(
        command, env=os.environ | {CACHE_VARIABLE: cache}, stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    idle, after = Memory(**found["idle"]), Memory(**found["after"])
    return Start(found["answered_at"] - began, found["import_s"], found["load_s"], idle, after)


def report_graph(found: Sequence[Member], ready_s: float) -> None:
    rows: list[Sequence[object]] = [
        (
            member.name,
            seconds(member.start.ready_s),
            seconds(member.start.constructor_s),
            *figures(member.idle.rss_mib, member.after.rss_mib, member.after.pss_mib),
            f"{100 * member.idle_cores:.1f}",
        )
        for member in found
    ]
    total = sum(member.after.pss_mib for member in found)
    cores = sum(member.idle_cores for member in found)
    rows.append(("together", seconds(ready_s), "", "", "", f"{total:.0f}", f"{100 * cores:.1f}"))
    bars = [(member.name, member.after.pss_mib) for member in found]
    report(
        "footprint_graph",
        "Every process of the graph (serve_config.yaml), after requests",
        (
            "process",
            "ready s",
            "constructor s",
            "RSS MiB when ready",
            "RSS MiB",
            "PSS MiB",
            "idle %",
        ),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "PSS, MiB"),
        raw={"ready_s": ready_s, "processes": [asdict(member) for member in found]},
    )


def report_models(starts: dict[tuple[Variant, bool], list[Start]]) -> None:
    bars = [
        (" ".join(label(*key)), median(run.ready_s for run in runs)) for key, runs in starts.items()
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


def label(variant: Variant, again: bool) -> tuple[str, str, str]:
    return variant.model, f"{variant.runtime} {variant.precision}", "again" if again else "first"


def start_cells(runs: Sequence[Start]) -> tuple[str, ...]:
    times = [(run.ready_s, run.import_s, run.load_s) for run in runs]
    memory = [(run.idle.rss_mib, run.after.rss_mib, run.after.peak_mib) for run in runs]
    shown = (f"{median(column):.2f}" for column in zip(*times, strict=True))
    return (*shown, *figures(*map(median, zip(*memory, strict=True))))


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def figures(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    main()
