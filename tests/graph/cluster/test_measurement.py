"""Service times measured on the running graph."""

from graph.cluster.launch import RunningGraph
from graph.cluster.measurement import measure_running
from tests.support.photos import GDP, YAOMING, photo_path


def test_times_are_measured_where_requests_go_and_nowhere_else(running: RunningGraph) -> None:
    photos = photo_path(YAOMING), photo_path(GDP)
    costs = measure_running(running, "compare", photos, requests=10).cost_s
    assert costs.pop("Recognizer:second") == 0.0
    assert all(0 < cost < 5 for cost in costs.values()), costs
    detect = measure_running(running, "detect", photos, requests=5).cost_s
    assert detect["Detector"] > 0
    assert detect["Recognizer:arcface"] == detect["Aligner"] == 0.0
