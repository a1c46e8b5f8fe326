"""The composed graph: every profile builds, and each stage is a deployment of its own."""

from pathlib import Path

import httpx
import pytest
from ray import serve
from ray.serve import Application

from graph.app import build_app
from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file
from tests.support.faults import one_replica, replicas
from tests.support.profiles import PROFILES, ROOT
from tests.support.ray_private import deployments_of
from tests.support.waiting import answered


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_every_profile_is_valid_and_builds(profile: Path) -> None:
    config = graph_config(read_serve_file(profile))
    assert isinstance(build_app(config), Application)


def test_each_stage_is_a_deployment_of_its_own(running: RunningGraph) -> None:
    deployments = serve.status().applications[running.app_name].deployments
    pools = ["Recognizer:arcface", "Recognizer:second"]
    assert set(deployments) == {"Ingress", "Detector", "Aligner", *pools, "Aggregator"}


def test_each_stage_has_the_options_that_the_file_gives_it(running: RunningGraph) -> None:
    content = read_serve_file(ROOT / "serve_config.yaml")
    served = deployments_of(running.app_name)
    for wanted in content["applications"][0]["deployments"]:
        config = served[wanted["name"]]["deployment_config"]
        actor_options = config["ray_actor_options"]
        assert actor_options["num_cpus"] == wanted["ray_actor_options"]["num_cpus"]
        assert config["max_ongoing_requests"] == wanted["max_ongoing_requests"]
        assert config["user_config"] == wanted.get("user_config")
        autoscaling = config["autoscaling_config"]
        assert autoscaling["max_replicas"] == wanted["autoscaling_config"]["max_replicas"]


def test_names_of_the_deployments_follow_the_configuration() -> None:
    config = graph_config(read_serve_file(ROOT / "serve_config.yaml"))
    assert deployment_names(config)[3] == "Recognizer:arcface"


def test_a_lost_stage_makes_the_graph_unready_until_it_is_back(strict: httpx.Client) -> None:
    for replica in replicas("Recognizer:arcface", "strict"):
        replica.kill()
    answer = answered(strict, "/readyz", 503)
    assert answer.json()["error"]["code"] == "model_unavailable"
    assert answer.json()["error"]["details"]["stages"] == ["arcface"]
    assert "retry-after" in answer.headers
    answered(strict, "/readyz", 200, timeout_s=60)


def test_a_stage_that_hangs_makes_the_graph_unready_until_it_resumes(strict: httpx.Client) -> None:
    answered(strict, "/readyz", 200, timeout_s=60)
    with one_replica("Aggregator", "strict").stopped():
        answer = strict.get("/readyz")
        models = strict.get("/v1/models").raise_for_status().json()["models"]
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["stages"] == ["aggregator"]
    silent = {model["stage"]: model["unavailable_reason"] for model in models}
    assert silent == dict.fromkeys(silent, None) | {"aggregator": "no replica answers"}
    answered(strict, "/readyz", 200, timeout_s=60)
