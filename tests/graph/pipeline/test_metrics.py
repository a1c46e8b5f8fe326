"""The metrics of a node of the running cluster, before and after requests."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import ray
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from ray.util import metrics

from deployments.replica.metrics import StageMetrics
from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph
from graph.pipeline.metrics import METRICS
from tests.support.photos import GDP, PLAYERS, YAOMING, photo_bytes

TAGS = ("route", "code", "reason", "stage", "face", "decision", "recognizer")
# Longer than the interval at which the test cluster's processes report their metrics.
REPORTED_S = 2.5

Values = dict[tuple[str, ...], float]


def exported() -> dict[str, Metric]:
    """The node's metrics by name."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    families = text_string_to_metric_families(httpx.get(url, timeout=30).text)
    return {family.name: family for family in families}


def scrape(application: str = "facegraph") -> Values:
    """Values by a sample's name and our own tags' values, summed over replicas.

    A histogram's buckets are also by their upper end.
    """
    values: Values = defaultdict(float)
    for family in exported().values():
        for sample in family.samples:
            labels = sample.labels
            if labels.get("application", "") == application and "facegraph_" in sample.name:
                tags = [labels[tag] for tag in (*TAGS, "le") if labels.get(tag)]
                values[tuple([sample.name.removeprefix("ray_facegraph_"), *tags])] += sample.value
    return values


def settled() -> Values:
    before, after = None, scrape()
    while before != after:
        time.sleep(REPORTED_S)
        before, after = after, scrape()
    return after


def growth(before: Values, *, until: Callable[[Values], bool], application: str) -> Values:
    deadline = time.monotonic() + 30
    while True:
        now = scrape(application)
        grown = defaultdict(float, {key: now[key] - before[key] for key in now})
        if until(grown) or time.monotonic() > deadline:
            return grown
        time.sleep(0.5)


def after(before: Values, expected: Mapping[tuple[str, ...], int], application: str) -> Values:
    def complete(grown: Values) -> bool:
        return all(grown[key] == value for key, value in expected.items())

    grown = growth(before, until=complete, application=application)
    assert {key: grown[key] for key in expected} == expected
    return grown


def blank_jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((200, 200, 3), 90, np.uint8))[1])


def test_requests_faces_stages_batches_and_similarities_are_counted(
    http: httpx.Client, client: FaceGraph
) -> None:
    before = settled()
    man, players = photo_bytes(YAOMING), photo_bytes(PLAYERS)
    pair = {"source": man, "target": players}
    compared = http.post("/v1/compare", files=pair, data={"faces": "all"}).json()
    http.post("/v1/embed", files={"image": blank_jpeg()})
    http.post("/v1/detect", files={"image": b"no image"})
    client.detect(photo_bytes(GDP))
    grown = after(
        before,
        {
            ("requests_total", "compare", "ok"): 1,
            ("requests_total", "embed", "face_not_found"): 1,
            ("requests_total", "detect", "invalid_image"): 1,
            ("requests_total", "detect", "ok"): 1,
            ("request_seconds_count", "detect"): 2,
            ("photos_total", "found"): 3,
            ("photos_total", "none"): 1,
            ("faces_total",): 1 + len(compared["matches"]) + 5,
            ("stage_seconds_count", "decode"): 4,
            ("stage_seconds_count", "detect"): 4,
            ("stage_seconds_count", "align"): 3,
            ("stage_seconds_count", "recognize:arcface"): 3,
            ("stage_seconds_count", "compare"): 1,
            ("batch_wait_seconds_count", "detect"): 4,
            ("batch_wait_seconds_count", "recognize:arcface"): 3,
            ("batch_wait_seconds_count", "align"): 2,  # in the ingress, by request
            ("batch_items_count", "compare"): 1,
            ("similarity_count", "match"): 1,
            ("similarity_bucket", "match", "0.6"): 0,
            ("similarity_bucket", "match", "0.65"): 1,
        },
        "facegraph",
    )
    assert 0.6 < compared["similarity"] < 0.65
    assert 1 <= grown["batch_items_count", "detect"] <= 4


def test_refused_requests_are_counted_by_code(strict: httpx.Client, running: RunningGraph) -> None:
    before = scrape("strict")
    key = {"authorization": "Bearer another"}
    assert strict.post("/v1/detect", headers=key).status_code == 401
    after(before, {("requests_total", "detect", "unauthorized"): 1}, "strict")


def test_uncertainties_are_counted_in_their_buckets(running: RunningGraph) -> None:
    before = scrape("")
    stage_metrics = StageMetrics(metrics)  # of this process, which is not a replica
    stage_metrics.embedded("rts", np.asarray([0.3, 4.0], np.float32))
    stage_metrics.embedded("arcface", None)
    buckets = {"0.2": 0, "0.5": 1, "5.0": 2}
    expected: dict[tuple[str, ...], int] = {
        ("uncertainty_bucket", "rts", end): count for end, count in buckets.items()
    }
    grown = after(before, expected, "")
    assert not any("arcface" in key for key in grown)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_has_the_prefix_few_tags_and_sorted_boundaries(metric: Any) -> None:
    assert metric.name.startswith("facegraph_")
    assert len(metric.tags) <= 2
    assert set(metric.tags) <= set(TAGS)
    assert metric.boundaries == tuple(sorted(metric.boundaries))
    assert metric.description
