"""Throughput by number of replicas, on stand-ins: python -m benchmarks.replicas

The real ingress and pipeline over HTTP. The detector and the recognizer take a fixed time for a
call, one at a time (benchmarks/harness/stand_ins.py); 8 clients for each replica of them. `ideal`
is the capacity of those replicas. An ingress is one event loop: `its limit` is the rate at which it
would use a whole core, at the CPU time of a request measured here. The machine itself is the limit
when `all cores`, the client's part included, come near the number of its cores.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ray import serve

from benchmarks.harness.load import MS, two_groups
from benchmarks.harness.results import report
from benchmarks.harness.turns import (
    INGRESS,
    LOGICAL_CPUS,
    SHIPPED,
    WARM_UP_S,
    Turn,
    stand_in_content,
    turn,
)
from graph.cluster.launch import RunningGraph, deploy, own_graph
from graph.cluster.preflight import LaunchFailed

SCALED = ("Detector", "Recognizer:")
CLIENTS_PER_REPLICA = 8
REPLICAS_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Step:
    ingresses: int
    replicas: int
    ideal: float
    turn: Turn

    @property
    def ingress_cores(self) -> float:
        return self.turn.cores[INGRESS] / self.ingresses

    @property
    def limit(self) -> float:
        """Requests per second at which one ingress would use a whole core."""
        return self.turn.rate / self.turn.cores[INGRESS]

    @property
    def all_cores(self) -> float:
        return sum(self.turn.cores.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--service-ms", type=float, default=40, help="of a call")
    options = parser.parse_args()
    report_scaling(scaling(options), options.service_ms)


def scaling(options: argparse.Namespace) -> list[Step]:
    """One ingress while the stages grow, then two while they shrink: a replica starts only once."""
    work = {"seconds": options.service_ms / MS, "at_once": 1}
    content = stand_in_content(SHIPPED, detector=work, recognizer=work)
    growing = [(1, count) for count in sorted(options.replicas)]
    sizes = [*growing, *((2, count) for _, count in reversed(growing))]
    with own_graph(content, num_cpus=LOGICAL_CPUS) as graph:
        return [step(graph, *size, options) for size in sizes]


def step(graph: RunningGraph, ingresses: int, replicas: int, options: argparse.Namespace) -> Step:
    resize(graph, ingresses, replicas)
    request, clients = two_groups(), CLIENTS_PER_REPLICA * replicas
    turn(graph, request, clients, seconds=WARM_UP_S)
    ideal = replicas / options.service_ms * MS
    return Step(ingresses, replicas, ideal, turn(graph, request, clients, options.seconds))


def resize(graph: RunningGraph, ingresses: int, replicas: int) -> None:
    (application,) = graph.content["applications"]
    deployments = [
        deployment | {"num_replicas": replica_count(deployment["name"], ingresses, replicas)}
        for deployment in application["deployments"]
    ]
    content = graph.content | {"applications": [application | {"deployments": deployments}]}
    deploy(content)
    wanted = {deployment["name"]: deployment["num_replicas"] for deployment in deployments}
    wait_for_replicas(graph.app_name, wanted)


def replica_count(name: str, ingresses: int, replicas: int) -> int:
    if name == INGRESS:
        return ingresses
    return replicas if name.startswith(SCALED) else 1


def wait_for_replicas(app_name: str, wanted: Mapping[str, int]) -> None:
    """Wait until exactly these run. The application's own status does not tell: it stays `running`
    while replicas start and end."""
    deadline = time.monotonic() + REPLICAS_TIMEOUT_S
    while time.monotonic() < deadline:
        deployments = serve.status().applications[app_name].deployments
        states = {name: dict(status.replica_states) for name, status in deployments.items()}
        if states == {name: {"RUNNING": count} for name, count in wanted.items()}:
            return
        time.sleep(0.2)
    raise LaunchFailed(f"expected {wanted} replicas, got {states}")


def report_scaling(steps: Sequence[Step], service_ms: float) -> None:
    columns = ("ingresses", "replicas", "requests/s", "ideal/s", "share", "p50 ms")
    report(
        "replicas",
        f"/v1/compare, detector and recognizer stand-ins of {service_ms:g} ms a call",
        (*columns, "cores of each ingress", "its limit/s", "all cores", "failed"),
        [scaling_row(one) for one in steps],
        draw=lambda axes: draw_scaling(axes, steps),
        raw=[asdict(one) for one in steps],
    )


def scaling_row(one: Step) -> Sequence[object]:
    return (
        one.ingresses,
        one.replicas,
        f"{one.turn.rate:.1f}",
        f"{one.ideal:.0f}",
        f"{one.turn.rate / one.ideal:.2f}",
        f"{one.turn.p50_ms:.0f}",
        f"{one.ingress_cores:.2f}",
        f"{one.limit:.0f}",
        f"{one.all_cores:.2f}",
        one.turn.failed,
    )


def draw_scaling(axes: Any, steps: Sequence[Step]) -> None:
    ideal = sorted({(one.replicas, one.ideal) for one in steps})
    axes.plot(*zip(*ideal, strict=True), "k--", label="ideal")
    for count in sorted({one.ingresses for one in steps}):
        some = sorted((one.replicas, one.turn.rate) for one in steps if one.ingresses == count)
        axes.plot(*zip(*some, strict=True), "o-", label=f"ingresses: {count}")
    axes.set_xlabel("replicas of the detector and of the recognizer")
    axes.set_ylabel("requests/s")
    axes.legend()


if __name__ == "__main__":
    main()
