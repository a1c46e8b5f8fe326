"""The profiles' numbers keep what the profiles promise about faults and load."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from configs.graph import GraphConfig
from graph.cluster.serve_file import graph_config, read_serve_file
from tests.support.profiles import PROFILES


def parts(profile: Path) -> tuple[GraphConfig, dict[str, Any], list[dict[str, Any]]]:
    """The configuration, and the deployment options of the ingress and of the stages."""
    content = read_serve_file(profile)
    (application,) = content["applications"]
    ingress, *stages = application["deployments"]
    assert ingress["name"] == "Ingress"
    return graph_config(content), ingress, stages


def replicas(deployment: dict[str, Any]) -> tuple[int, int]:
    """The least and the most replicas of a deployment."""
    autoscaling = deployment.get("autoscaling_config")
    if autoscaling:
        return autoscaling["min_replicas"], autoscaling["max_replicas"]
    count = deployment.get("num_replicas", 1)
    return count, count


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_calls_behind_readyz_do_not_queue_behind_requests(profile: Path) -> None:
    config, ingress, stages = parts(profile)
    most = config.request_limits.max_concurrent * replicas(ingress)[1]
    assert ingress["max_ongoing_requests"] > config.request_limits.max_concurrent
    assert all(stage["max_ongoing_requests"] > most for stage in stages)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_stopping_replicas_may_finish_their_requests(profile: Path) -> None:
    config, ingress, stages = parts(profile)
    limits = config.request_limits
    longest_s = limits.body_timeout_s + limits.timeout_s
    assert ingress["graceful_shutdown_timeout_s"] > longest_s
    assert all(stage["graceful_shutdown_timeout_s"] > limits.timeout_s for stage in stages)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_no_call_is_hedged_because_it_queues(profile: Path) -> None:
    config = parts(profile)[0]
    assert config.request_limits.max_queue_wait_s <= config.retries.hedge_after_s
    assert config.request_limits.max_queue_wait_s < config.request_limits.timeout_s


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_hung_replica_is_ejected_and_replaced_within_a_requests_timeout(profile: Path) -> None:
    config, ingress, stages = parts(profile)
    assert config.retries.hedge_after_s < config.request_limits.timeout_s
    for deployment in (ingress, *stages):
        unanswered_s = 3 * deployment["health_check_timeout_s"]
        assert unanswered_s < config.request_limits.timeout_s


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_requests_share_calls_where_stages_are_sized_by_what_arrives(profile: Path) -> None:
    (application,) = read_serve_file(profile)["applications"]
    shared = parts(profile)[0].calls.max_requests_per_call > 1
    assert shared == ("autoscaling_policy" in application)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_one_ingress_replica_may_be_lost(profile: Path) -> None:
    assert replicas(parts(profile)[1])[0] >= 2


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_serve_finds_the_functions_that_it_calls(profile: Path) -> None:
    options = read_serve_file(profile)["controller_options"]["runtime_env"]["env_vars"]
    paths = [value for name, value in options.items() if name.endswith("CALLBACK_IMPORT_PATH")]
    assert len(paths) == 2
    for module, _, name in (path.partition(":") for path in paths):
        assert callable(getattr(import_module(module), name))
