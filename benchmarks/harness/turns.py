"""The graph on stand-ins, one turn of requests at it, and the CPU that each process took for it.

`CPU`: milliseconds of a core for one request, by process, less what the process takes while nobody
asks.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from benchmarks.footprint import Process, descendants
from benchmarks.harness.load import CONFIG, Answers, load, multipart, photo_640
from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import read_serve_file

T = TypeVar("T")

IMPORT_PATH = "benchmarks.harness.stand_ins:build_app"
SWITCHES = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
CLIENT, PROXY, INGRESS, OTHER = "client", "proxy", "Ingress", "other"
# Ray's and Serve's own processes, by the titles that they go under.
PLACES = {
    "haproxy": PROXY,
    "HAProxyManager": PROXY,
    "ProxyActor": PROXY,
    "ServeController": "controller",
    "raylet": "raylet",
    "gcs_server": "GCS",
}
# Ray's, which are only counted: enough for every replica to be placed on any machine.
LOGICAL_CPUS = 16
WARM_UP_S = 2.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MS = 1000


@dataclass(frozen=True)
class Way:
    mode: Literal["direct", "by_reference"]
    switches: bool

    def __str__(self) -> str:
        return f"{self.mode.replace('_', ' ')}, switches {'on' if self.switches else 'off'}"


SHIPPED = Way("direct", switches=True)


@dataclass(frozen=True)
class Call:
    """A request, the stages that it goes through, and the status that answers it."""

    path: str
    hops: int
    body: bytes
    content_type: str
    status: int = 200


@dataclass(frozen=True)
class Turn:
    """CPU by process: cores while it ran, and milliseconds per request above what idles."""

    path: str
    hops: int
    concurrency: int
    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    cores: Mapping[str, float]
    cpu_ms: Mapping[str, float]

    @property
    def graph_ms(self) -> float:
        return sum(self.cpu_ms.values()) - self.cpu_ms[CLIENT]


def compare_call() -> Call:
    photos = {"source": photo_640("gdp.jpg"), "target": photo_640("players.jpg")}
    return Call("/v1/compare", 4, *multipart(photos))


def turn(
    graph: RunningGraph,
    call: Call,
    concurrency: int,
    seconds: float,
    idle: Mapping[str, float] | None = None,
) -> Turn:
    url, body = f"{graph.url}{call.path}", (call.body, call.content_type)
    answers, spent = cpu_of(
        # From 2 on the first request of each client, sent all at once, is not among the latencies.
        lambda: asyncio.run(load(url, *body, concurrency=concurrency, seconds=seconds, at_least=2))
    )
    return turn_of(call, concurrency, answers, spent, idle or {})


def turn_of(
    call: Call,
    concurrency: int,
    answers: Answers,
    spent: Mapping[str, float],
    idle: Mapping[str, float],
) -> Turn:
    count, took = answers.statuses.total(), answers.took
    p50, p99 = np.percentile(answers.latencies, [50, 99]) * MS
    above = {place: cpu - idle.get(place, 0.0) * took for place, cpu in spent.items()}
    return Turn(
        call.path,
        call.hops,
        concurrency,
        rate=count / took,
        p50_ms=float(p50),
        p99_ms=float(p99),
        failed=count - answers.statuses[call.status],
        cores={place: cpu / took for place, cpu in spent.items()},
        cpu_ms={place: cpu / count * MS for place, cpu in above.items()},
    )


def cpu_of(action: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What an action of the client returns, and the seconds of CPU it took by process."""
    before = graph_cpu()
    own = time.process_time()
    result = action()
    spent = {CLIENT: time.process_time() - own}
    for pid, (place, cpu) in graph_cpu().items():
        _, earlier = before.get(pid, (place, 0.0))
        spent[place] = spent.get(place, 0.0) + cpu - earlier
    return result, spent


def graph_cpu() -> dict[int, tuple[str, float]]:
    """Place and seconds of CPU so far of every process that this one started."""
    found: dict[int, tuple[str, float]] = {}
    for process in descendants(os.getpid()):
        with suppress(OSError):  # ended meanwhile
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            # The name in brackets may hold spaces; user and system time are fields 14 and 15.
            user, system = stat.rpartition(")")[2].split()[11:13]
            found[process.pid] = place_of(process), (int(user) + int(system)) / TICKS_PER_S
    return found


def place_of(process: Process) -> str:
    return process.title if process.is_replica else PLACES.get(process.title, OTHER)


def stand_in_content(way: Way, **work: Mapping[str, float]) -> dict[str, Any]:
    """serve_config.yaml with stand-ins, one replica of each."""
    content = read_serve_file(CONFIG)
    (application,) = content["applications"]
    edges = application["args"].get("calls", {}) | {"mode": way.mode}
    args = {"graph": application["args"] | {"calls": edges}, **work}
    deployments = [of_fixed_size(deployment) for deployment in application["deployments"]]
    changed = {
        "import_path": IMPORT_PATH,
        "args": args,
        "deployments": deployments,
        "autoscaling_policy": None,
    }
    environment = content["controller_options"]["runtime_env"]["env_vars"]
    switches = dict.fromkeys(SWITCHES, "1" if way.switches else "0")
    return content | {
        "applications": [application | changed],
        "controller_options": {"runtime_env": {"env_vars": environment | switches}},
    }


def of_fixed_size(deployment: Mapping[str, Any]) -> dict[str, Any]:
    # A stand-in takes no user_config.
    left_out = ("autoscaling_config", "user_config")
    kept = {key: value for key, value in deployment.items() if key not in left_out}
    return kept | {"num_replicas": 1}
