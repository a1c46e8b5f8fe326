"""The composed graph: every profile builds, and each stage is a deployment of its own."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from ray import serve
from ray.serve import Application

from graph.app import build_app
from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file
from tests.support.faults import one_replica, replicas
from tests.support.processes import peak_growth_mib
from tests.support.profiles import PROFILES, ROOT
from tests.support.ray_private import deployments_of
from tests.support.waiting import answered, wait_until


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_every_profile_is_valid_and_builds(profile: Path) -> None:
    config = graph_config(read_serve_file(profile))
    assert isinstance(build_app(config), Application)


def test_each_stage_is_a_deployment_of_its_own(running: RunningGraph) -> None:
    deployments = serve.status().applications[running.app_name].deployments
    pools = ["Recognizer:arcface", "Recognizer:second"]
    stages = {"Ingress", "Detector", "Aligner", *pools, "Aggregator", "Gallery"}
    assert set(deployments) == stages


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


def unready(client: httpx.Client) -> list[str]:
    """The stages that /readyz calls unready; on a busy machine others may answer late, too."""
    answer = client.get("/readyz")
    if answer.status_code == 200:
        return []
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "model_unavailable")
    assert "retry-after" in answer.headers
    stages: list[str] = error["details"]["stages"]
    return stages


def unavailable(client: httpx.Client) -> dict[str, str]:
    """By stage, the reason why it is unavailable."""
    models = client.get("/v1/models").raise_for_status().json()["models"]
    return {one["stage"]: one["unavailable_reason"] for one in models if not one["available"]}


def test_a_lost_stage_makes_the_graph_unready_until_it_is_back(strict: httpx.Client) -> None:
    for replica in replicas("Recognizer:arcface", "strict"):
        replica.kill()
    wait_until(lambda: unready(strict) == ["arcface"])
    answered(strict, "/readyz", 200)


def test_a_stage_that_hangs_makes_the_graph_unready_until_it_resumes(strict: httpx.Client) -> None:
    answered(strict, "/readyz", 200)
    with one_replica("Aggregator", "strict").stopped():
        wait_until(lambda: unready(strict) == ["aggregator"])
        wait_until(lambda: unavailable(strict) == {"aggregator": "no replica answers"})
    answered(strict, "/readyz", 200)


def test_a_body_that_no_route_takes_is_not_kept_while_a_stage_hangs(strict: httpx.Client) -> None:
    ingress = one_replica("Ingress", "strict")
    body, times = bytes(32 << 20), 8

    def send(_: int) -> None:
        with suppress(httpx.TransportError):  # answered and closed before the whole body was sent
            strict.request("GET", "/readyz", content=body)

    with one_replica("Aggregator", "strict").stopped():
        wait_until(lambda: unready(strict) == ["aggregator"])
        with peak_growth_mib(ingress.pid) as growth, ThreadPoolExecutor(times) as threads:
            list(threads.map(send, range(times)))
        assert growth() < 64  # of 256 MiB that were sent
    answered(strict, "/readyz", 200)
