"""Measurement of service times: what one request costs each stage of a graph on this machine."""

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from ray import serve

from deployments.errors import ModelUnavailable
from graph.cluster.cpu import processor_name
from graph.cluster.launch import RunningGraph, own_graph
from graph.cluster.serve_file import deployment_names, graph_application, graph_config
from graph.cluster.service_times import RequestKind, ServiceTimes

_WARM_UP = 5  # requests
_ROUNDS = 5
_TIMEOUT_S = 120.0


def measure(
    content: Mapping[str, Any], request: RequestKind, photos: tuple[Path, Path], requests: int
) -> ServiceTimes:
    """Measure the service times of a private graph with one replica of each stage."""
    with own_graph(_graph_alone(content)) as graph:
        return measure_running(graph, request, photos, requests)


def measure_running(
    graph: RunningGraph, request: RequestKind, photos: tuple[Path, Path], requests: int
) -> ServiceTimes:
    """Measure the service times of a running graph with one replica of each stage.

    Requests are sent over HTTP one after the other, so that none waits for another or for a core.
    Each stage's time is its lowest of several rounds: other work on this machine only adds to it.
    photos: source and target of a comparison; the other routes take the first. Raises
    ModelUnavailable if a replica was replaced in every round.
    """
    files, each = _files(request, photos), math.ceil(requests / _ROUNDS)
    with httpx.Client(timeout=_TIMEOUT_S) as client:

        def ask(times: int) -> None:
            for _ in range(times):
                client.post(f"{graph.url}/v1/{request}", files=files).raise_for_status()

        ask(_WARM_UP)
        busy = [_busy_s(graph)]
        for _ in range(_ROUNDS):
            ask(each)
            busy.append(_busy_s(graph))
    costs = {name: seconds / each for name, seconds in lowest_differences(busy).items()}
    return ServiceTimes(
        request=request, measured_on=_machine(), requests=each * _ROUNDS, cost_s=costs
    )


def lowest_differences(busy: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The lowest increase of each stage's counter between two successive readings.

    A replica that is replaced counts from 0 again: readings between which a counter fell are left
    out. Raises ModelUnavailable if that leaves none.
    """
    rounds = [
        {name: after[name] - before[name] for name in after} for before, after in pairwise(busy)
    ]
    whole = [one for one in rounds if min(one.values()) >= 0]
    if not whole:
        fallen = sorted({name for one in rounds for name, more in one.items() if more < 0})
        raise ModelUnavailable(f"{', '.join(fallen)} was replaced while it was measured; try again")
    return {name: min(one[name] for one in whole) for name in whole[0]}


def _busy_s(graph: RunningGraph) -> dict[str, float]:
    """Seconds that each deployment's workers have computed since its start."""

    async def ask() -> dict[str, float]:
        answers = {}
        for name in deployment_names(graph_config(graph.content)):
            handle = serve.get_deployment_handle(name, graph.app_name)
            answers[name] = (await handle.record_autoscaling_stats.remote())["busy_s"]
        return answers

    return asyncio.run(ask())


def _graph_alone(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the Serve config with the graph alone: no other application, one replica of each
    stage, on loopback, where no API key is needed."""
    shipped = graph_application(dict(content))
    fixed = {"autoscaling_config": None, "num_replicas": 1}
    deployments = [one | fixed for one in shipped.get("deployments") or ()]
    args = {key: value for key, value in shipped.get("args", {}).items() if key != "access"}
    alone = {key: value for key, value in shipped.items() if key != "autoscaling_policy"}
    application = alone | {"args": args, "deployments": deployments, "route_prefix": "/"}
    return {**content, "http_options": {"host": "127.0.0.1"}, "applications": [application]}


def _files(request: RequestKind, photos: tuple[Path, Path]) -> dict[str, bytes]:
    source, target = (photo.read_bytes() for photo in photos)
    return {"source": source, "target": target} if request == "compare" else {"image": source}


def _machine() -> str:
    return f"{processor_name()}, {os.cpu_count()} cores"
