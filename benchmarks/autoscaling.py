"""Autoscaling policies under a burst of five times the load: python -m benchmarks.autoscaling

Simulated (benchmarks/scaling_simulation.py: real policies, simulated time, several random runs) and
real: the graph's ingress and pipeline on a local cluster, with stand-ins for the stages, which wait
instead of computing, so that replicas do not compete for the machine's cores. Per policy:

`absorbed after`: seconds from the burst's start until, for ten seconds, every request that arrives
is answered within two seconds; `p99`: latency of the burst's requests; `replica-seconds`: of all
scaled stages, starting replicas included, until two minutes after the burst; `most replicas`: at
one time.

Serve's policy has the same delays and look-back as Little's law; the simulation also runs it with
Serve's own defaults.
"""

import argparse
import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from ray import serve
from ray.serve.config import AutoscalingConfig

from benchmarks.harness.load import compare_request, connection
from benchmarks.harness.results import report
from benchmarks.scaling_simulation import (
    Burst,
    Outcome,
    Policy,
    Simulation,
    littles_law,
    serves_policy,
)
from configs.scaling import LittlesLawConfig
from graph.autoscaling import POLICY, StageSizer
from graph.cluster.launch import own_graph
from graph.serve_private import ReplicaState

SERVICE_S = {"Detector": 0.10, "Aligner": 0.02, "Recognizer:arcface": 0.15, "Aggregator": 0.02}
SLOW_S, CALM_S = 2.0, 10.0
STARTUP_S = 6.0  # of a replica, in simulated time
# Ongoing requests at a replica of one worker at 0.7 utilisation, if arrivals and service times are
# random.
TARGET_ONGOING = 2.3
QUICK = {"upscale_delay_s": 1.0, "downscale_delay_s": 20.0, "look_back_period_s": 10.0}
COMMON = {"min_replicas": 1, "target_ongoing_requests": TARGET_ONGOING, "metrics_interval_s": 1.0}
SERVES, SERVES_OWN, OURS = "Serve's policy", "Serve's policy and delays", "Little's law"
FIGURES = ("absorbed after s", "p99 s", "replica-seconds", "most replicas")
COLOURS = ("tab:blue", "tab:orange", "tab:green")
LIMIT = {"simulated": 20, "real": 8}
BURSTS = {"simulated": Burst(4, 20, 120, 240, 360), "real": Burst(3, 15, 20, 65, 80)}


@dataclass(frozen=True)
class Figures:
    absorbed_s: float
    p99_s: float
    replica_s: float
    most_replicas: int
    failed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="random runs, simulated")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of both policies, real; 0: only simulated"
    )
    options = parser.parse_args()
    simulated = {name: simulations(name, options.seeds) for name in (SERVES_OWN, SERVES, OURS)}
    real: dict[str, list[Outcome]] = {SERVES: [], OURS: []}
    for turn in range(options.rounds):
        for name in real if turn % 2 == 0 else reversed(real):
            real[name].append(asyncio.run(measured(name, seed=turn)))
    save({"simulated": simulated, "real": real} if options.rounds else {"simulated": simulated})


def simulations(name: str, seeds: int) -> list[Outcome]:
    burst, config = BURSTS["simulated"], scaling(name, "simulated")
    return [
        Simulation(burst, SERVICE_S, policy(name, config), config, STARTUP_S, 10 * seed).run()
        for seed in range(seeds)
    ]


def scaling(name: str, where: str) -> AutoscalingConfig:
    delays = {} if name == SERVES_OWN else QUICK
    return AutoscalingConfig(**COMMON, **delays, max_replicas=LIMIT[where])


def policy(name: str, config: AutoscalingConfig) -> Policy:
    if name != OURS:
        return serves_policy(config)
    ours = LittlesLawConfig()
    return littles_law(StageSizer(ours), config, ours.arrivals_window_s)


async def measured(name: str, seed: int) -> Outcome:
    """One run on a cluster of its own. A failed request's latency is infinite."""
    burst = BURSTS["real"]
    with own_graph(content(name), num_cpus=64) as graph:
        began = time.monotonic()
        watching = asyncio.create_task(asyncio.to_thread(watch, graph.app_name, burst.until_s))
        answers = await send(graph.url, burst, seed, began)
        replicas = await watching
    spent = sum(sum(counts) for counts in replicas.values())
    latencies = [(arrived, took if good else math.inf) for arrived, took, good in answers]
    return Outcome(latencies, spent, replicas)


def content(name: str) -> dict[str, Any]:
    scaled = COMMON | QUICK | {"max_replicas": LIMIT["real"]}
    fixed = scaled | {"max_replicas": 1}
    works = {stage.lower().partition(":")[0]: {"seconds": s} for stage, s in SERVICE_S.items()}
    # No shared calls: a stand-in would answer a group of requests as fast as one.
    calls = {"max_requests_per_call": 1}
    application: dict[str, Any] = {
        "name": "burst",
        "import_path": "benchmarks.harness.stand_ins:build_app",
        "args": {"graph": {"calls": calls}, **works},
        "deployments": [
            {
                "name": stage,
                "max_ongoing_requests": 1000,
                "ray_actor_options": {"num_cpus": 0.1},
                "autoscaling_config": scaled if stage in SERVICE_S else fixed,
            }
            for stage in ("Ingress", *SERVICE_S)
        ],
    }
    if name == OURS:
        application["autoscaling_policy"] = {"policy_function": POLICY, "policy_kwargs": {}}
    return {"http_options": {"host": "127.0.0.1"}, "applications": [application]}


def watch(app_name: str, seconds: float) -> dict[str, list[int]]:
    """Count the replicas that run or start, once a second."""
    seen: dict[str, list[int]] = {stage: [] for stage in SERVICE_S}
    began = time.monotonic()
    for second in range(int(seconds)):
        deployments = serve.status().applications[app_name].deployments
        for stage, counts in seen.items():
            states = deployments[stage].replica_states
            counts.append(
                states.get(ReplicaState.RUNNING, 0) + states.get(ReplicaState.STARTING, 0)
            )
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return seen


async def send(
    url: str, burst: Burst, seed: int, began: float
) -> Sequence[tuple[float, float, bool]]:
    """An open loop: requests at random times, whether or not earlier ones are answered.

    Returns the time of arrival and the latency in s of each, and whether it was answered.
    """
    request = compare_request(b"no photo", b"no photo")
    async with connection(url, clients=0) as post:

        async def one(at: float) -> tuple[float, float, bool]:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            outcome = await post(request)
            return at, time.monotonic() - began - at, outcome.status == 200

        return await asyncio.gather(*map(one, burst.arrivals(seed)))


def figures(outcome: Outcome, burst: Burst) -> Figures:
    during = [(at, took) for at, took in outcome.latencies if burst.begins_s <= at < burst.ends_s]
    totals = [sum(counts) for counts in zip(*outcome.replicas.values(), strict=True)]
    return Figures(
        absorbed_s=absorbed(during, burst),
        # Failed requests have an infinite latency, which cannot be interpolated.
        p99_s=float(np.percentile([took for _, took in during], 99, method="higher")),
        replica_s=outcome.replica_s,
        most_replicas=max(totals),
        failed=sum(math.isinf(took) for _, took in outcome.latencies),
    )


def absorbed(during: Sequence[tuple[float, float]], burst: Burst) -> float:
    """Seconds from the burst's start until it is absorbed; infinite if it is not before its end."""
    slow = [at for at, took in during if took > SLOW_S]
    if not slow:
        return 0.0
    for at, following in pairwise([*slow, burst.ends_s]):
        if following - at >= CALM_S:
            return at - burst.begins_s
    return float("inf")


def save(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> None:
    found = {
        (where, name): [figures(outcome, BURSTS[where]) for outcome in runs]
        for where, policies in outcomes.items()
        for name, runs in policies.items()
    }
    report(
        "autoscaling",
        "A burst of 5x the load",
        ("", "policy", "runs", *FIGURES, "failed"),
        [row(where, name, some) for (where, name), some in found.items()],
        draw=lambda axes: draw(axes, *list(outcomes.items())[-1]),
        raw={
            f"{where}, {name}": [finite(one) for one in some]
            for (where, name), some in found.items()
        },
    )


def finite(one: Figures) -> dict[str, float | None]:
    """The figures, with None in place of infinity, which JSON lacks."""
    return {name: value if math.isfinite(value) else None for name, value in vars(one).items()}


def row(where: str, name: str, some: Sequence[Figures]) -> Sequence[object]:
    def middle(value: Callable[[Figures], float], digits: int = 0) -> str:
        return f"{median(map(value, some)):.{digits}f}"

    return (
        where,
        name,
        len(some),
        middle(lambda one: one.absorbed_s, 1),
        middle(lambda one: one.p99_s, 2),
        middle(lambda one: one.replica_s),
        middle(lambda one: one.most_replicas),
        sum(one.failed for one in some),
    )


def draw(axes: Any, where: str, policies: Mapping[str, Sequence[Outcome]]) -> None:
    """Running replicas over time, a line for each run."""
    burst = BURSTS[where]
    axes.axvspan(burst.begins_s, burst.ends_s, color="0.9", label="5x the load")
    for colour, (name, runs) in zip(COLOURS, reversed(list(policies.items())), strict=False):
        for index, run in enumerate(runs):
            totals = [sum(counts) for counts in zip(*run.replicas.values(), strict=True)]
            axes.plot(totals, color=colour, linewidth=0.8, label=None if index else name)
    axes.set_xlabel("s")
    axes.set_ylabel(f"replicas of all stages, {where}")
    axes.legend()


if __name__ == "__main__":
    main()
