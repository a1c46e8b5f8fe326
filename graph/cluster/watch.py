"""A running graph's health, as Serve sees it."""

import time

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from graph.cluster.launch import RunningGraph
from graph.cluster.preflight import LaunchFailed
from graph.cluster.progress import Report, reason_of
from graph.serve_private import DeploymentStatus

_PERIOD_S = 2.0


def watch(graph: RunningGraph, report: Report) -> None:
    """Report every stage of the graph that fails or recovers, until a signal ends this process.

    Raises LaunchFailed if the cluster has ended.
    """
    failed: set[str] = set()
    while True:
        time.sleep(_PERIOD_S)
        try:
            application = serve.status().applications[graph.app_name]
        except (RayError, RayServeException, KeyError) as error:
            raise LaunchFailed(
                f"the graph has been ended from outside: {reason_of(str(error))}"
            ) from error
        for name, stage in application.deployments.items():
            if stage.status == DeploymentStatus.UNHEALTHY and name not in failed:
                failed.add(name)
                report(f"{name} has failed, and is replaced: {reason_of(stage.message)}")
            elif stage.status == DeploymentStatus.HEALTHY and name in failed:
                failed.remove(name)
                report(f"{name} is ready again")
