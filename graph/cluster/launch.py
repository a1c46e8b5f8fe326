"""Graphs started from a checked Serve config, on a private cluster or on one that runs already."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import gRPCOptions
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from graph.client.cluster import join_cluster, quiet_ray
from graph.cluster.isolation import isolated, preloading, split_environment
from graph.cluster.preflight import (
    LaunchFailed,
    check_paths,
    check_port,
    check_weights,
    free_port,
    licence_notes,
    netloc,
    reached,
)
from graph.cluster.private import OnLost, own_cluster, shut_down
from graph.cluster.progress import Progress, Report, no_report, reason_of
from graph.cluster.remains import remove_remains
from graph.cluster.serve_file import graph_configs
from graph.cluster.signals import catch_signals, signals_raise
from graph.serve_private import deploy_applications

# Short, because nothing sends requests to a private graph that is ending.
SHORT_DRAINING_S = 0.5
# A graph is ready in half a minute; on a slow machine with other work it took more than two.
START_TIMEOUT_S = 300.0
_POLL_S = 0.2


@dataclass(frozen=True)
class RunningGraph:
    """The applications of `content` on the Ray cluster at `address`. `url` and `app_name` are those
    of the first one."""

    content: dict[str, Any]
    address: str
    url: str
    app_name: str


@contextmanager
def own_graph(
    content: dict[str, Any],
    *,
    port: int | None = None,
    timeout_s: float = START_TIMEOUT_S,
    draining_s: float = SHORT_DRAINING_S,
    report: Report = no_report,
    on_lost: OnLost | None = None,
    **ray_options: Any,
) -> Iterator[RunningGraph]:
    """Run the applications of a checked Serve config on a private cluster.

    port: of HTTP; None takes a free one. draining_s: seconds for which a stopping ingress replica
    still takes requests. report: called with a sentence for each part that is ready. on_lost: as
    for `own_cluster`. Raises LaunchFailed as `own_cluster` and `deploy` do and if the port is
    taken, and ModelUnavailable if no recognizer has weights, or the detector has none.
    """
    check_paths()
    content, variables = split_environment(with_port(content, port or free_port()))
    remove_remains()  # one may have the port
    http = content["http_options"]
    check_port(http["host"], http["port"])
    configs = graph_configs(content)
    missing = [sentence for config in configs for sentence in check_weights(config)]
    for sentence in [*licence_notes(configs), *missing]:
        report(sentence)
    began = time.monotonic()
    ray_options["_system_config"] = preloading(ray_options.get("_system_config", {}))
    with own_cluster(
        on_lost=on_lost,
        variables_of=lambda folder: isolated(variables, folder, draining_s),
        **ray_options,
    ) as cluster:
        seconds = time.monotonic() - began
        logs = cluster.folder / "session_latest" / "logs"
        report(f"Ray ready after {seconds:.1f} s: address {cluster.address}, logs in {logs}")
        yield deploy(content, timeout_s=timeout_s, report=report, began=began)


@contextmanager
def graph_on(
    address: str,
    content: dict[str, Any],
    *,
    timeout_s: float = START_TIMEOUT_S,
    report: Report = no_report,
) -> Iterator[RunningGraph]:
    """Run the applications of a checked Serve config on the Ray cluster at `address`, and shut
    Serve down there afterwards.

    Raises ModelUnavailable as `join_cluster`, and LaunchFailed as `deploy`.
    """
    began = time.monotonic()
    with signals_raise(), quiet_ray():
        join_cluster(address)
        catch_signals()
        try:
            for sentence in licence_notes(graph_configs(content)):
                report(sentence)
            yield deploy(content, timeout_s=timeout_s, report=report, began=began)
        finally:
            shut_down()


def deploy(
    content: dict[str, Any],
    *,
    timeout_s: float = START_TIMEOUT_S,
    report: Report = no_report,
    began: float | None = None,
) -> RunningGraph:
    """Run the applications of a checked Serve config on the Ray cluster of this process, and wait
    until all run. Applications that the config does not list are removed.

    began: the time, by `time.monotonic`, from which the reported seconds count; None: now. Raises
    LaunchFailed, with Serve's message, if an application fails or none runs within `timeout_s`.
    """
    now = time.monotonic()
    progress = Progress(report, now if began is None else began)
    _apply(content)
    progress.say("Ray Serve")
    names = [str(application.get("name", "default")) for application in content["applications"]]
    while not progress.is_ready(names):
        if time.monotonic() > now + timeout_s:
            raise LaunchFailed(f"not ready after {timeout_s:g} s: {progress.waiting}")
        time.sleep(_POLL_S)
    address = str(ray.get_runtime_context().gcs_address)
    return RunningGraph(content, address, url_of(content), names[0])


def _apply(content: dict[str, Any]) -> None:
    """Start Serve, unless it runs, and hand it the config."""
    config = ServeDeploySchema.model_validate(content)
    try:
        serve.start(
            proxy_location=config.proxy_location,
            http_options=config.http_options.model_dump(),
            grpc_options=gRPCOptions(**config.grpc_options.model_dump()),
            controller_options=config.controller_options,
        )
        deploy_applications(config)
    except (RayError, RayServeException, TimeoutError) as error:
        raise LaunchFailed(f"Ray Serve did not start: {reason_of(str(error))}") from error


def with_port(content: dict[str, Any], port: int) -> dict[str, Any]:
    """A copy of the config with that HTTP port, on loopback unless it names a host."""
    http = {"host": "127.0.0.1", **(content.get("http_options") or {}), "port": port}
    return {**content, "http_options": http}


def url_of(content: dict[str, Any]) -> str:
    """The first application's URL, as this machine reaches it."""
    http = content.get("http_options") or {}
    host = reached(http.get("host", "127.0.0.1"))
    scheme = "https" if http.get("ssl_certfile") else "http"
    prefix = content["applications"][0].get("route_prefix", "/").rstrip("/")
    return f"{scheme}://{netloc(host, http.get('port', 8000))}{prefix}"
