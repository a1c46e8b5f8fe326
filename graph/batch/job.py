"""Embeds many photos at once: on Ray Data, or as concurrent requests to a running graph."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pyarrow as pa
import ray

from configs.catalogue import CATALOGUE
from configs.graph import GraphConfig
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.weights.find import find_weights
from graph.batch.embedders import GraphEmbedder, ModelEmbedder, Work
from graph.batch.table import PHOTO
from graph.client.client import FaceGraph
from graph.cluster.launch import own_cluster

# The largest block, in photos, and the fewest blocks that an actor gets where there are enough
# photos for smaller ones.
_PHOTOS_PER_BLOCK = 64
_BLOCKS_PER_ACTOR = 4
# Requests in flight at a server.
_REQUESTS = 16


def on_ray_data(
    photos: Sequence[str],
    work: Work,
    config: GraphConfig,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[pa.Table]:
    """Rows of `results_schema`, in the order in which blocks of photos are finished.

    address: a running Ray cluster, whose nodes see the folder under the same path; None starts one
    on this machine. workers: number of actors; None takes as many as there are cores or GPUs for.
    Raises ModelUnavailable where weights are missing or no cluster answers at `address`.
    """
    for model in (config.detector, *(config.recognizers[name] for name in work.recognizers)):
        find_weights(CATALOGUE[model.model], model.weights)
    with _cluster(address):
        needs = _needs(work, config)
        actors = workers or _actors(needs)
        size = max(1, min(_PHOTOS_PER_BLOCK, len(photos) // (actors * _BLOCKS_PER_ACTOR)))
        blocks = [
            pa.table({PHOTO: photos[start : start + size]}) for start in range(0, len(photos), size)
        ]
        dataset = _quiet_dataset(blocks).map_batches(
            ModelEmbedder,
            fn_constructor_kwargs={"work": work, "config": config},
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
        )
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def by_requests(photos: Sequence[str], work: Work, graph: FaceGraph) -> Iterator[pa.Table]:
    """Rows of `results_schema` from a running graph, in the photos' order."""
    with ThreadPoolExecutor(_REQUESTS) as threads:
        try:
            yield from threads.map(GraphEmbedder(work, graph), photos)
        finally:
            threads.shutdown(cancel_futures=True)


def _cluster(address: str | None) -> AbstractContextManager[str]:
    return own_cluster() if address is None else _joined(address)


@contextmanager
def _joined(address: str) -> Iterator[str]:
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        raise ModelUnavailable(f"no Ray cluster at {address}: {error}") from error
    try:
        yield address
    finally:
        ray.shutdown()


def _needs(work: Work, config: GraphConfig) -> dict[str, float]:
    """CPUs and GPUs that Ray sets aside for an actor, which runs one model after the other."""
    models = [config.detector, *(config.recognizers[name] for name in work.recognizers)]
    on_gpu = any(model.device == "cuda" for model in models)
    return {"CPU": max(model.threads for model in models), "GPU": 1 if on_gpu else 0}


def _actors(needs: dict[str, float]) -> int:
    """Actors that fit on what the cluster has left; raises FaceGraphError for none."""
    there = ray.available_resources()
    fit = min(there.get(name, 0) // count for name, count in needs.items() if count)
    if fit < 1:
        raise FaceGraphError(f"an actor needs {needs}, and the Ray cluster has {there} left")
    return int(fit)


def _quiet_dataset(blocks: Sequence[pa.Table]) -> "ray.data.Dataset":
    """A dataset that prints nothing: the caller shows the progress."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray.data.from_arrow(list(blocks))
