"""Turns of load on a graph, with the CPU time of each of its processes; a graph on stand-ins.

CPU per request is in milliseconds of one core, less what the process uses when idle.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.harness.load import CONFIG, MS, Measured, Request, measure
from benchmarks.harness.processes import Process, cpu_s, descendants
from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import read_serve_file

T = TypeVar("T")

IMPORT_PATH = "benchmarks.harness.stand_ins:build_app"
SWITCHES = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
CLIENT, PROXY, INGRESS, OTHER = "client", "proxy", "Ingress", "other"
# Processes of Ray and Serve, by title.
PLACES = {
    "haproxy": PROXY,
    "HAProxyManager": PROXY,
    "ProxyActor": PROXY,
    "ServeController": "controller",
    "raylet": "raylet",
    "gcs_server": "GCS",
}
# Logical CPUs of Ray, enough to place every replica on any machine.
LOGICAL_CPUS = 16
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Variant:
    """The state of serve_config.yaml's switches."""

    switches: bool

    def __str__(self) -> str:
        return f"switches {'on' if self.switches else 'off'}"


SHIPPED = Variant(switches=True)


@dataclass(frozen=True)
class Turn(Measured):
    """One measurement of a graph. CPU by process: cores in use, and ms per request above idle."""

    path: str
    concurrency: int
    cores: Mapping[str, float]
    cpu_ms: Mapping[str, float]

    @property
    def graph_ms(self) -> float:
        return sum(self.cpu_ms.values()) - self.cpu_ms[CLIENT]


def turn(
    graph: RunningGraph,
    request: Request,
    concurrency: int,
    seconds: float,
    idle: Mapping[str, float] | None = None,
) -> Turn:
    """Load a graph for some seconds. idle: cores that each process uses when the graph is idle."""
    found, spent = cpu_of(
        lambda: measure(graph.url, request, concurrency=concurrency, seconds=seconds, at_least=2)
    )
    took_s, idle = found.took_s, idle or {}
    above = {place: cpu - idle.get(place, 0.0) * took_s for place, cpu in spent.items()}
    return Turn(
        **vars(found),
        path=request.path,
        concurrency=concurrency,
        cores={place: cpu / took_s for place, cpu in spent.items()},
        cpu_ms={place: cpu / found.count * MS for place, cpu in above.items()},
    )


def cpu_of(action: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """The result of an action of the client, and the seconds of CPU it took by process."""
    before = graph_cpu()
    own = time.process_time()
    result = action()
    spent = {CLIENT: time.process_time() - own}
    for pid, (place, cpu) in graph_cpu().items():
        _, earlier = before.get(pid, (place, 0.0))
        spent[place] = spent.get(place, 0.0) + cpu - earlier
    return result, spent


def graph_cpu() -> dict[int, tuple[str, float]]:
    """Place, and seconds of CPU so far, of every process below this one, by process id."""
    found: dict[int, tuple[str, float]] = {}
    for process in descendants(os.getpid()):
        with suppress(OSError):  # ended meanwhile
            found[process.pid] = place_of(process), cpu_s(process.pid)
    return found


def place_of(process: Process) -> str:
    return process.title if process.is_replica else PLACES.get(process.title, OTHER)


def stand_in_content(variant: Variant, **work: Mapping[str, float]) -> dict[str, Any]:
    """serve_config.yaml with stand-ins, one replica of each."""
    content = read_serve_file(CONFIG)
    (application,) = content["applications"]
    args = {"graph": application["args"], **work}
    deployments = [one_replica_of(deployment) for deployment in application["deployments"]]
    changed = {
        "import_path": IMPORT_PATH,
        "args": args,
        "deployments": deployments,
        "autoscaling_policy": None,
    }
    environment = content["controller_options"]["runtime_env"]["env_vars"]
    switches = dict.fromkeys(SWITCHES, "1" if variant.switches else "0")
    return content | {
        "applications": [application | changed],
        "controller_options": {"runtime_env": {"env_vars": environment | switches}},
    }


def one_replica_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    # A stand-in takes no user_config.
    left_out = ("autoscaling_config", "user_config")
    kept = {key: value for key, value in deployment.items() if key not in left_out}
    return kept | {"num_replicas": 1}
