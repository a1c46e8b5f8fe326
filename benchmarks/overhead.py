"""What the graph itself adds to its models: python -m benchmarks.overhead

The real ingress and pipeline over HTTP, with a stand-in for every stage that answers at once
(benchmarks/stand_ins.py), on a cluster of its own for each way: stages that answer directly or by
reference, with and without the switches of serve_config.yaml (HAProxy, throughput). So all of a
request's time and CPU is the graph's, but for the client's own part.

`CPU`: milliseconds of a core for one /v1/compare of two 640-px photos, by process, less what the
process takes while nobody asks. `latency`: how long that request takes. `hops`: one client, bodies
of one size; 0 hops is a body that the ingress reads and refuses, detect calls one stage, embed
three and compare four, each of them with what it sends and answers.

`scaling`: the detector and the recognizer take a fixed time for a call, one at a time; 8 clients
for each replica of them. `ideal` is what the replicas could answer. An ingress is one event loop:
`its limit` is the rate at which it would take a whole core, at what a request costs it here. The
machine is at its own where `all cores`, the client's part among them, come near to those it has.

Client and graph share the machine's cores.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from ray import serve

from benchmarks.footprint import Process, descendants, draw_bars
from benchmarks.load import CONFIG, Answers, load, multipart, photo_640
from benchmarks.results import report
from graph.launch import LaunchFailed, RunningGraph, deploy, own_graph
from graph.serve_file import deployment_names, graph_config, read_serve_file

T = TypeVar("T")

IMPORT_PATH = "benchmarks.stand_ins:build_app"
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
SCALED = ("Detector", "Recognizer:")
CLIENTS_PER_REPLICA = 8
# Ray's, which are only counted: enough for every replica to be placed on any machine.
LOGICAL_CPUS = 16
WARM_UP_S = 2.0
IDLE_S = 3.0
REPLICAS_TIMEOUT_S = 120.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MS = 1000


@dataclass(frozen=True)
class Way:
    mode: Literal["direct", "by_reference"]
    switches: bool

    def __str__(self) -> str:
        return f"{self.mode.replace('_', ' ')}, switches {'on' if self.switches else 'off'}"


SHIPPED = Way("direct", switches=True)
WAYS = (
    SHIPPED,
    Way("direct", switches=False),
    Way("by_reference", switches=True),
    Way("by_reference", switches=False),
)


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


@dataclass(frozen=True)
class Measured:
    way: Way
    idle_cores: Mapping[str, float]
    compares: Sequence[Turn]
    hops: Sequence[Turn]


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
        """Requests per second at which one ingress would take a whole core."""
        return self.turn.rate / self.turn.cores[INGRESS]

    @property
    def all_cores(self) -> float:
        return sum(self.turn.cores.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--service-ms", type=float, default=40, help="of a call, in scaling")
    options = parser.parse_args()
    for part in options.parts:
        PARTS[part](options)


def ways_part(options: argparse.Namespace) -> None:
    found = [measured(way, options) for way in WAYS]
    report_cpu(found)
    report_latency(found)
    report_hops(found)


def scaling_part(options: argparse.Namespace) -> None:
    report_scaling(scaling(options), options.service_ms)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ways": ways_part,
    "scaling": scaling_part,
}


def measured(way: Way, options: argparse.Namespace) -> Measured:
    with own_graph(stand_in_content(way), num_cpus=LOGICAL_CPUS) as graph:
        call, seconds = compare_call(), options.seconds
        turn(graph, call, 4, seconds=WARM_UP_S)
        idle = idle_cores()
        compares = [turn(graph, call, many, seconds, idle) for many in options.concurrency]
        hops = [turn(graph, call, 1, seconds, idle) for call in hop_calls()]
        return Measured(way, idle, compares, hops)


def compare_call() -> Call:
    photos = {"source": photo_640("gdp.jpg"), "target": photo_640("players.jpg")}
    return Call("/v1/compare", 4, *multipart(photos))


def hop_calls() -> list[Call]:
    """Bodies of one size: nobody looks into the photos, so that a half of one will do."""
    photo = photo_640("players.jpg")
    half = photo[: len(photo) // 2]
    return [
        Call("/v1/detect", 0, *multipart({"no_such_field": photo}), status=400),
        Call("/v1/detect", 1, *multipart({"image": photo})),
        Call("/v1/embed", 3, *multipart({"image": photo})),
        Call("/v1/compare", 4, *multipart({"source": half, "target": half})),
    ]


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


def idle_cores() -> dict[str, float]:
    _, spent = cpu_of(lambda: time.sleep(IDLE_S))
    return {place: cpu / IDLE_S for place, cpu in spent.items()}


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


def scaling(options: argparse.Namespace) -> list[Step]:
    """One ingress while the stages grow, then two while they shrink: each starts only once."""
    work = {"seconds": options.service_ms / MS, "at_once": 1}
    content = stand_in_content(SHIPPED, detector=work, recognizer=work)
    growing = [(1, count) for count in sorted(options.replicas)]
    sizes = [*growing, *((2, count) for _, count in reversed(growing))]
    with own_graph(content, num_cpus=LOGICAL_CPUS) as graph:
        return [step(graph, *size, options) for size in sizes]


def step(graph: RunningGraph, ingresses: int, replicas: int, options: argparse.Namespace) -> Step:
    resize(graph, ingresses, replicas)
    call, clients = compare_call(), CLIENTS_PER_REPLICA * replicas
    turn(graph, call, clients, seconds=WARM_UP_S)
    ideal = replicas / options.service_ms * MS
    return Step(ingresses, replicas, ideal, turn(graph, call, clients, options.seconds))


def resize(graph: RunningGraph, ingresses: int, replicas: int) -> None:
    (application,) = graph.content["applications"]
    deployments = [
        deployment | {"num_replicas": replica_count(deployment["name"], ingresses, replicas)}
        for deployment in application["deployments"]
    ]
    content = graph.content | {"applications": [application | {"deployments": deployments}]}
    deploy(content, address=graph.address)
    wanted = {deployment["name"]: deployment["num_replicas"] for deployment in deployments}
    wait_for_replicas(graph.app_name, wanted)


def replica_count(name: str, ingresses: int, replicas: int) -> int:
    if name == INGRESS:
        return ingresses
    return replicas if name.startswith(SCALED) else 1


def wait_for_replicas(app_name: str, wanted: Mapping[str, int]) -> None:
    """Until just these run: the application counts as running while the others come and go."""
    deadline = time.monotonic() + REPLICAS_TIMEOUT_S
    while time.monotonic() < deadline:
        deployments = serve.status().applications[app_name].deployments
        states = {name: dict(status.replica_states) for name, status in deployments.items()}
        if states == {name: {"RUNNING": count} for name, count in wanted.items()}:
            return
        time.sleep(0.2)
    raise LaunchFailed(f"expected {wanted} replicas, got {states}")


def stand_in_content(way: Way, **work: Mapping[str, float]) -> dict[str, Any]:
    """serve_config.yaml with stand-ins, one replica of each."""
    content = read_serve_file(CONFIG)
    (application,) = content["applications"]
    args = {"graph": application["args"] | {"edges": {"mode": way.mode}}, **work}
    deployments = [of_fixed_size(deployment) for deployment in application["deployments"]]
    changed = {"import_path": IMPORT_PATH, "args": args, "deployments": deployments}
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


def places() -> list[str]:
    stages = deployment_names(graph_config(read_serve_file(CONFIG)))
    return [CLIENT, PROXY, *stages, "controller", "raylet", "GCS", OTHER]


def report_cpu(found: Sequence[Measured]) -> None:
    turns = [(one.way, turn) for one in found for turn in one.compares]
    rows = [
        (place, *(f"{turn.cpu_ms.get(place, 0.0):.2f}" for _, turn in turns)) for place in places()
    ]
    rows.append(("the graph's", *(f"{turn.graph_ms:.2f}" for _, turn in turns)))
    report(
        "overhead_cpu",
        "CPU ms per /v1/compare on stand-ins, by process",
        ("process", *(f"{way}, {turn.concurrency} at once" for way, turn in turns)),
        rows,
        draw=lambda axes: draw_cpu(axes, turns),
        raw=[asdict(one) for one in found],
    )


def report_latency(found: Sequence[Measured]) -> None:
    turns = [(one, turn) for one in found for turn in one.compares]
    columns = ("way", "concurrency", "requests/s", "p50 ms", "p99 ms", "CPU ms", "client CPU ms")
    rows = [
        (one.way, turn.concurrency, *latency_cells(turn), idle_ms(one), turn.failed)
        for one, turn in turns
    ]
    bars = [(f"{one.way}, {turn.concurrency}", turn.p50_ms) for one, turn in turns]
    report(
        "overhead_latency",
        "/v1/compare on stand-ins: what the graph adds",
        (*columns, "idle CPU ms/s", "failed"),
        [tuple(map(str, row)) for row in rows],
        draw=lambda axes: draw_bars(axes, bars, "p50 ms, by way and concurrency"),
    )


def latency_cells(turn: Turn) -> tuple[str, ...]:
    times = (turn.p50_ms, turn.p99_ms, turn.graph_ms, turn.cpu_ms[CLIENT])
    return (f"{turn.rate:.1f}", *(f"{value:.2f}" for value in times))


def idle_ms(one: Measured) -> str:
    return f"{sum(one.idle_cores.values()) * MS:.0f}"


def report_hops(found: Sequence[Measured]) -> None:
    columns = ("way", "route", "hops", "p50 ms", "CPU ms", "p50 ms per hop more", "CPU ms per hop")
    report(
        "overhead_hops",
        "By hop, one client, stand-ins",
        (*columns, "failed"),
        [row for one in found for row in hop_rows(one)],
        draw=lambda axes: draw_hops(axes, found),
        raw=[{"way": str(one.way), "turns": [asdict(turn) for turn in one.hops]} for one in found],
    )


def hop_rows(one: Measured) -> list[Sequence[object]]:
    """The last two figures compare with the row above."""
    differences = [("", ""), *(per_hop(less, more) for less, more in pairwise(one.hops))]
    return [
        (
            str(one.way),
            turn.path,
            turn.hops,
            f"{turn.p50_ms:.2f}",
            f"{turn.graph_ms:.2f}",
            *difference,
            turn.failed,
        )
        for turn, difference in zip(one.hops, differences, strict=True)
    ]


def per_hop(less: Turn, more: Turn) -> tuple[str, str]:
    hops = more.hops - less.hops
    latency, cpu = more.p50_ms - less.p50_ms, more.graph_ms - less.graph_ms
    return f"{latency / hops:.2f}", f"{cpu / hops:.2f}"


def report_scaling(steps: Sequence[Step], service_ms: float) -> None:
    columns = ("ingresses", "replicas", "requests/s", "ideal/s", "share", "p50 ms")
    report(
        "overhead_scaling",
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


def draw_cpu(axes: Any, turns: Sequence[tuple[Way, Turn]]) -> None:
    """A bar for each way and concurrency, made up of its processes."""
    rows = range(len(turns))
    ends = np.zeros(len(turns))
    for index, place in enumerate(places()):
        # Less than idle is noise.
        values = [max(0.0, turn.cpu_ms.get(place, 0.0)) for _, turn in turns]
        hatch = "//" if index > 9 else ""  # the colours begin anew
        axes.barh(rows, values, left=ends, label=place, color=f"C{index}", hatch=hatch)
        ends += values
    names = [f"{way}, {turn.concurrency}" for way, turn in turns]
    axes.set_yticks(rows, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("CPU ms per request, by way and concurrency")
    axes.legend(fontsize=6)


def draw_hops(axes: Any, found: Sequence[Measured]) -> None:
    for one in found:
        hops = [turn.hops for turn in one.hops]
        axes.plot(hops, [turn.p50_ms for turn in one.hops], "o-", label=str(one.way))
    axes.set_xticks([turn.hops for turn in found[0].hops])
    axes.set_xlabel("stages that a request goes through")
    axes.set_ylabel("p50, ms")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


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
