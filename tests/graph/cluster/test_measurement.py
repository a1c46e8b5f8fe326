"""Service times measured on the running graph."""

import pytest

from deployments.errors import ModelUnavailable
from graph.cluster.launch import RunningGraph
from graph.cluster.measurement import lowest_differences, measure_running
from tests.support.applications import added
from tests.support.photos import GDP, YAOMING, photo_path

ONE_EACH = {
    "name": "measured",
    "route_prefix": "/measured",
    "import_path": "graph.app:build_app",
    "args": {"recognizers": {"arcface": {}, "second": {"model": "arcface-mbf"}}},
    "deployments": [
        {"name": name, "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.05}}
        for name in (
            "Ingress",
            "Detector",
            "Aligner",
            "Recognizer:arcface",
            "Recognizer:second",
            "Aggregator",
        )
    ],
}


def test_times_are_measured_where_requests_go_and_nowhere_else(running: RunningGraph) -> None:
    photos = photo_path(YAOMING), photo_path(GDP)
    with added(running, ONE_EACH) as graph:
        costs = measure_running(graph, "compare", photos, requests=10).cost_s
        assert costs.pop("Recognizer:second") == 0.0
        assert all(0 < cost < 5 for cost in costs.values()), costs
        detect = measure_running(graph, "detect", photos, requests=5).cost_s
        assert detect["Detector"] > 0
        assert detect["Recognizer:arcface"] == detect["Aligner"] == 0.0


def test_a_round_in_which_a_replica_was_replaced_is_left_out() -> None:
    readings = [{"a": 5.0, "b": 1.0}, {"a": 0.5, "b": 1.1}, {"a": 1.5, "b": 2.0}]
    assert lowest_differences(readings) == pytest.approx({"a": 1.0, "b": 0.9})
    with pytest.raises(ModelUnavailable, match=r"^a was replaced while"):
        lowest_differences(readings[:2])
