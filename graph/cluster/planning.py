"""Capacity planning: replicas, CPUs and GPUs of each stage for a rate of requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.graph import GraphConfig
from configs.model import ModelConfig
from deployments.errors import InvalidRequest
from graph.autoscaling import INGRESS, replicas_needed
from graph.cluster.serve_file import deployment_names, graph_application, graph_config


@dataclass(frozen=True)
class ReplicaShape:
    """A replica of a deployment: its workers, each of which computes one request at a time, and the
    CPUs and GPUs that it takes."""

    deployment: str
    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class StagePlan:
    """The size of a stage.

    cost_s: worker-seconds per request. load: mean number of busy workers. why: the arithmetic
    behind `replicas`.
    """

    shape: ReplicaShape
    cost_s: float
    load: float
    replicas: int
    why: str

    @property
    def cpus(self) -> float:
        return self.replicas * self.shape.cpus

    @property
    def gpus(self) -> float:
        return self.replicas * self.shape.gpus

    @property
    def requests_at_replica(self) -> float:
        """Mean number of requests that a replica computes or queues."""
        return requests_at_replica(self.load / self.replicas, self.shape.workers)


@dataclass(frozen=True)
class Plan:
    """The size of every stage at a rate of requests. utilisation: share of time that workers are
    busy."""

    requests_per_s: float
    utilisation: float
    stages: Sequence[StagePlan]

    def ongoing_requests(self, stage: StagePlan) -> float:
        """Mean number of requests at a replica of the stage. An ingress replica holds its requests
        until their last answer, so that it counts those at every stage."""
        if stage.shape.deployment != INGRESS:
            return stage.requests_at_replica
        return sum(one.requests_at_replica * one.replicas for one in self.stages) / stage.replicas

    @property
    def cpus(self) -> float:
        return sum(stage.cpus for stage in self.stages)

    @property
    def gpus(self) -> float:
        return sum(stage.gpus for stage in self.stages)

    def as_yaml(self) -> str:
        """The `deployments` of a Serve config in YAML, in place of those that it has."""
        return "\n".join(["deployments:", *(self._entry(stage) for stage in self.stages)])

    def _entry(self, stage: StagePlan) -> str:
        scaling = {
            "min_replicas": 1,
            "initial_replicas": stage.replicas,
            "max_replicas": stage.replicas,
            "target_ongoing_requests": round(max(self.ongoing_requests(stage), 1.0), 1),
        }
        options = {"num_cpus": stage.shape.cpus}
        if stage.shape.gpus:
            options["num_gpus"] = stage.shape.gpus
        return (
            f"  - name: {stage.shape.deployment}\n"
            f"    ray_actor_options: {_inline(options)}\n"
            f"    autoscaling_config: {_inline(scaling)}"
        )


def replica_shapes(content: Mapping[str, Any]) -> list[ReplicaShape]:
    """A replica of each deployment of the graph in a checked Serve config.

    A replica without a GPU takes a core for each thread of each worker, whatever `num_cpus` the
    config has. A replica with a GPU takes its `num_cpus`.
    """
    config = graph_config(dict(content))
    deployments = graph_application(dict(content)).get("deployments") or ()
    options = {one["name"]: one.get("ray_actor_options") or {} for one in deployments}
    # A search's time depends on the gallery's size, so that no request's time can be planned with.
    planned = [name for name in deployment_names(config) if name != "Gallery"]
    return [_shape(name, config, options.get(name, {})) for name in planned]


def plan_cluster(
    requests_per_s: float,
    cost_s: Mapping[str, float],
    shapes: Sequence[ReplicaShape],
    utilisation: float,
) -> Plan:
    """Size every stage by Little's law: rate x cost is the number of busy workers.

    cost_s: worker-seconds per request, by deployment. Raises InvalidRequest for deployments whose
    cost is missing.
    """
    missing = [shape.deployment for shape in shapes if shape.deployment not in cost_s]
    if missing:
        raise InvalidRequest(
            f"no service time for {', '.join(missing)}: measure them (--measure), or give each"
            f" (--cost {missing[0]}=SECONDS)",
            deployments=missing,
        )
    stages = [
        _stage_plan(requests_per_s, cost_s[shape.deployment], shape, utilisation)
        for shape in shapes
    ]
    return Plan(requests_per_s, utilisation, stages)


def requests_at_replica(load: float, workers: int) -> float:
    """Mean number of requests at a replica, computed or waiting, for random arrivals and times.

    load: mean number of busy workers, less than `workers`. Little's law with Erlang's C
    formula for the share of requests that wait (the M/M/c queue of any text on queueing).
    """
    blocked = 1.0  # Erlang's B formula for `count` workers
    for count in range(1, workers + 1):
        blocked = load * blocked / (count + load * blocked)
    busy = load / workers
    waits = blocked / (1 - busy * (1 - blocked))
    return load + waits * busy / (1 - busy)


def _stage_plan(
    requests_per_s: float, cost_s: float, shape: ReplicaShape, utilisation: float
) -> StagePlan:
    load = requests_per_s * cost_s
    needed = replicas_needed(load, workers=shape.workers, utilisation=utilisation)
    each = f"({shape.workers} x {utilisation:g})" if shape.workers > 1 else f"{utilisation:g}"
    why = (
        f"{requests_per_s:g}/s x {cost_s * 1000:.2f} ms"
        f" / {each} = {load / (shape.workers * utilisation):.2f}"
    )
    return StagePlan(shape, cost_s, load, max(1, needed), why)


def _shape(name: str, config: GraphConfig, options: Mapping[str, Any]) -> ReplicaShape:
    workers, threads = _workers(name, config)
    gpus = float(options.get("num_gpus", 0))
    cpus = float(options.get("num_cpus", 1)) if gpus else float(workers * threads)
    return ReplicaShape(name, workers, cpus, gpus)


def _workers(name: str, config: GraphConfig) -> tuple[int, int]:
    """A replica's workers and the threads of each. The ingress and the aggregator, which have no
    workers of their own, count as one worker of one thread."""
    if name == "Detector":
        return config.detector.workers, config.detector.threads
    if name == "Aligner":
        return config.aligner.workers, 1
    kind, _, pool_name = name.partition(":")
    pool: ModelConfig | None = None
    if kind == "Recognizer":
        pool = config.recognizers.get(pool_name)
    elif kind == "Classifier":
        pool = config.classifiers.get(pool_name)
    return (pool.workers, pool.threads) if pool else (1, 1)


def _inline(mapping: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{key}: {value:g}" for key, value in mapping.items()) + "}"
