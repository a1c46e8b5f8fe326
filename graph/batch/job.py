"""Embedding of many photos: on Ray Data, or by concurrent requests to a running graph."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import ray

from configs.graph import GraphConfig
from configs.model import ModelConfig
from deployments.errors import FaceGraphError
from deployments.inference.backend import Network
from deployments.inference.choice import choose
from deployments.inference.machine import Machine
from deployments.weights.checksums import version_of
from deployments.weights.find import find_weights
from graph.batch.embedders import EmbeddingJob, GraphEmbedder, ModelEmbedder
from graph.batch.ray_data import blocks_of, map_blocks, on_cluster
from graph.batch.table import PHOTO
from graph.client.client import FaceGraph

_MAX_PHOTOS_PER_BLOCK = 64
_REQUESTS_IN_FLIGHT = 16


def on_ray_data(
    photos: Sequence[str],
    job: EmbeddingJob,
    config: GraphConfig,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[pa.Table]:
    """Embed photos on Ray Data; yields rows of `results_schema` as blocks of photos are done.

    address: a running Ray cluster, whose nodes see the folder under the same path; None starts one
    on this machine. workers: number of actors; None takes as many as there are cores or GPUs for.
    Raises ModelUnavailable if no cluster answers at `address`.
    """
    models = _models(job, config)
    with on_cluster(address):
        free = ray.available_resources()
        needs = _needs(models, free)
        actors = workers or _actors(needs, free)
        # On this machine alone no node can be lost, and the command can go on after a crash.
        restarts: dict[str, Any] = {} if address else {"max_restarts": 0}
        yield from map_blocks(
            blocks_of(pa.table({PHOTO: photos}), actors=actors, most=_MAX_PHOTOS_PER_BLOCK),
            ModelEmbedder,
            {"job": job, "config": config},
            actors=actors,
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            **restarts,
        )


def versions(job: EmbeddingJob, config: GraphConfig) -> list[str]:
    """Versions of the detector and of each recognizer; raises ModelUnavailable without weights."""
    models = [(model.entry, model.weights) for model in _models(job, config)]
    return [version_of(model, find_weights(model, weights).path) for model, weights in models]


def by_requests(photos: Sequence[str], job: EmbeddingJob, graph: FaceGraph) -> Iterator[pa.Table]:
    """Embed photos by a running graph; yields rows of `results_schema` in the photos' order."""
    with ThreadPoolExecutor(_REQUESTS_IN_FLIGHT) as threads:
        try:
            yield from threads.map(GraphEmbedder(job, graph), photos)
        finally:
            threads.shutdown(cancel_futures=True)


def _models(job: EmbeddingJob, config: GraphConfig) -> list[ModelConfig]:
    return [config.detector, *(config.recognizers[name] for name in job.recognizers)]


def _needs(models: Sequence[ModelConfig], free: Mapping[str, float]) -> dict[str, float]:
    """CPUs and GPUs that Ray sets aside for an actor, which runs one model after the other.

    Ray hides the GPUs from an actor that asks for none. A GPU that no model would compute on is
    not asked for, as there are fewer of them than of cores.
    """
    on_gpu = any(model.device == "cuda" for model in models)
    if not on_gpu and free.get("GPU", 0) >= 1:
        on_gpu = ray.get(ray.remote(num_gpus=1)(any_takes_gpu).remote(models, Machine()))
    return {"CPU": max(model.threads for model in models), "GPU": 1 if on_gpu else 0}


def any_takes_gpu(models: Sequence[ModelConfig], machine: Machine) -> bool:
    """Tell whether one of the models would compute on a GPU of the machine."""
    network = Network()  # no network decides on the device
    choices = [choose(model.entry, model, network, machine) for model in models]
    return any(choice.device == "cuda" for choice in choices)


def _actors(needs: Mapping[str, float], free: Mapping[str, float]) -> int:
    """Number of actors that the cluster has room for; raises FaceGraphError for none."""
    fit = min(free.get(name, 0) // count for name, count in needs.items() if count)
    if fit < 1:
        raise FaceGraphError(f"an actor needs {needs}, and the Ray cluster has {free} left")
    return int(fit)
