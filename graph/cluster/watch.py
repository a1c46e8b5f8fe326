"""A running graph's health, as Serve sees it."""

import time
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from graph.cluster.launch import RunningGraph
from graph.cluster.preflight import LaunchFailed
from graph.cluster.progress import Report, reason_of
from graph.serve_private import DeploymentStatus, is_serve_up

_PERIOD_S = 2.0


def watch(graph: RunningGraph, report: Report) -> None:
    """Report every stage of the graph, and Serve's controller, that fails or recovers, until a
    signal ends this process.

    Raises LaunchFailed if Serve or the application has been ended from outside.
    """
    failed: set[str] = set()
    while True:
        time.sleep(_PERIOD_S)
        for name, stage in _stages(graph, report).items():
            if stage.status == DeploymentStatus.UNHEALTHY and name not in failed:
                failed.add(name)
                report(f"{name} has failed, and is replaced: {reason_of(stage.message)}")
            elif stage.status == DeploymentStatus.HEALTHY and name in failed:
                failed.remove(name)
                report(f"{name} is ready again")


def _stages(graph: RunningGraph, report: Report) -> dict[str, Any]:
    """The states of the graph's stages, as soon as Serve's controller tells them."""
    is_silent = False
    while True:
        try:
            stages = serve.status().applications[graph.app_name].deployments
        except KeyError as error:
            raise LaunchFailed("the graph has been ended from outside: no application") from error
        except (RayError, RayServeException) as error:
            if not is_serve_up():
                reason = reason_of(str(error))
                raise LaunchFailed(f"the graph has been ended from outside: {reason}") from error
            if not is_silent:
                report("Serve's controller has failed, and is restarted")
            is_silent = True
            time.sleep(_PERIOD_S)
            continue
        if is_silent:
            report("Serve's controller is ready again")
        return stages
