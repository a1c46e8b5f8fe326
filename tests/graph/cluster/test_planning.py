"""Clusters worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.errors import InvalidRequest
from graph.cluster.planning import ReplicaShape, plan_cluster, replica_shapes, requests_at_replica
from graph.cluster.serve_file import read_serve_file
from graph.cluster.service_times import SHIPPED, read_service_times
from tests.support.profiles import ROOT

DETECTOR = ReplicaShape("Detector", workers=2, cpus=2.0, gpus=0.0)
INGRESS = ReplicaShape("Ingress", workers=1, cpus=1.0, gpus=0.0)
ON_GPU = ReplicaShape("Recognizer:arcface", workers=2, cpus=1.0, gpus=0.25)


def test_a_rate_times_a_cost_over_the_workers_at_their_utilisation() -> None:
    """500/s x 10 ms is 5 workers busy; at 0.7 of two workers each, 3.57 replicas."""
    sized = plan_cluster(
        500, {"Detector": 0.010, "Recognizer:arcface": 0.008}, [DETECTOR, ON_GPU], 0.7
    )
    detector, recognizer = sized.stages
    assert (detector.replicas, detector.load, detector.cpus, detector.gpus) == (4, 5.0, 8.0, 0.0)
    assert detector.why == "500/s x 10.00 ms / (2 x 0.7) = 3.57"
    assert (recognizer.replicas, recognizer.cpus, recognizer.gpus) == (3, 3.0, 0.75)
    assert (sized.cpus, sized.gpus) == (11.0, 0.75)


def test_every_stage_has_a_replica_however_little_it_does() -> None:
    [stage] = plan_cluster(1, {"Detector": 0.0}, [DETECTOR], 0.7).stages
    assert stage.replicas == 1


def test_a_stage_without_a_time_is_named() -> None:
    with pytest.raises(InvalidRequest, match="no service time for Recognizer:arcface"):
        plan_cluster(1, {"Detector": 0.1}, [DETECTOR, ON_GPU], 0.7)


@pytest.mark.parametrize(
    ("load", "workers", "requests"),
    [(0.0, 3, 0.0), (0.7, 1, 0.7 / 0.3), (1.4, 2, 1.4 / (1 - 0.49)), (2.0, 4, 2.0 + 4 / 23)],
)
def test_requests_at_a_replica_are_those_of_erlangs_formula(
    load: float, workers: int, requests: float
) -> None:
    """M/M/1: r/(1-r). M/M/2: 2r/(1-r^2). M/M/4 at r = 1/2: of the terms 1, 2, 2, 4/3 and, for all
    states in which an arrival waits, 4/3, the last has the share 4/23; 4/23 x r/(1-r) wait."""
    assert requests_at_replica(load, workers) == pytest.approx(requests)


def test_the_lines_to_paste_are_yaml_that_a_checked_file_takes(tmp_path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    costs = read_service_times(SHIPPED).cost_s
    sized = plan_cluster(50, costs, replica_shapes(content), 0.7)
    content["applications"][0] |= yaml.safe_load(sized.as_yaml())
    file = tmp_path / "sized.yaml"
    file.write_text(yaml.safe_dump(content))
    deployments = read_serve_file(file)["applications"][0]["deployments"]
    assert [one["autoscaling_config"]["max_replicas"] for one in deployments] == [
        stage.replicas for stage in sized.stages
    ]


def test_an_ingress_replica_counts_what_all_stages_hold() -> None:
    """At half of one worker each stage holds one request: two stages, one ingress replica."""
    other = ReplicaShape("Aggregator", workers=1, cpus=1.0, gpus=0.0)
    sized = plan_cluster(10, {"Ingress": 0.05, "Aggregator": 0.05}, [INGRESS, other], 0.5)
    ingress, aggregator = sized.stages
    assert sized.ongoing_requests(ingress) == pytest.approx(2.0)
    assert sized.ongoing_requests(aggregator) == pytest.approx(1.0)


def shapes_in(file: str) -> dict[str, ReplicaShape]:
    shapes = replica_shapes(read_serve_file(ROOT / file))
    return {shape.deployment: shape for shape in shapes}


def test_shapes_follow_the_file() -> None:
    shapes = shapes_in("serve_config.yaml")
    assert shapes["Detector"] == ReplicaShape("Detector", workers=2, cpus=2.0, gpus=0.0)
    assert shapes["Ingress"] == ReplicaShape("Ingress", workers=1, cpus=1.0, gpus=0.0)
    on_gpu = shapes_in("configs/profiles/gpu.yaml")["Recognizer:frfm"]
    assert on_gpu == ReplicaShape("Recognizer:frfm", workers=2, cpus=1.0, gpus=0.2)
