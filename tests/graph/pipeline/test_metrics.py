"""The metrics of a node of the running cluster, before and after requests."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
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
from graph.http.keys import digest_of, new_key
from graph.pipeline.metrics import METRICS
from tests.support.photos import FEW_PLAYERS, GDP, YAOMING, photo_bytes
from tests.support.waiting import TIMEOUT_S, wait_until

TAGS = ("key", "route", "code", "reason", "stage", "face", "decision", "recognizer")
# Longer than the interval at which the test cluster's processes report their metrics.
REPORTED_S = 5.5

Values = dict[tuple[str, ...], float]


def exported() -> dict[str, Metric]:
    """The node's metrics by name."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    families = text_string_to_metric_families(httpx.get(url, timeout=TIMEOUT_S).text)
    return {family.name: family for family in families}


def scrape(application: str = "facegraph") -> Values:
    """Counts by a sample's name and our own tags' values, summed over replicas.

    A histogram's buckets are also by their upper end.
    """
    values: Values = defaultdict(float)
    for family in exported().values():
        for sample in family.samples if family.type != "gauge" else ():
            labels = sample.labels
            if labels.get("application", "") == application and "facegraph_" in sample.name:
                tags = [labels[tag] for tag in (*TAGS, "le") if labels.get(tag)]
                values[tuple([sample.name.removeprefix("ray_facegraph_"), *tags])] += sample.value
    return values


def settled(application: str = "facegraph") -> Values:
    before, after = None, scrape(application)
    while before != after:
        time.sleep(REPORTED_S)
        before, after = after, scrape(application)
    return after


def growth(before: Values, *, until: Callable[[Values], bool], application: str) -> Values:
    deadline = time.monotonic() + TIMEOUT_S
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
    man, players = photo_bytes(YAOMING), photo_bytes(FEW_PLAYERS)
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
            ("key_requests_total", "anonymous", "ok"): 1,
            ("key_photos_total", "anonymous", "ok"): 2,
            ("key_photos_total", "anonymous", "face_not_found"): 1,
            ("request_seconds_count", "detect"): 2,
            ("photos_total", "found"): 3,
            ("photos_total", "none"): 1,
            ("faces_total",): 1 + len(compared["matches"]) + 6,
            ("stage_seconds_count", "decode"): 4,
            ("stage_seconds_count", "detect"): 4,
            ("stage_seconds_count", "align"): 3,
            ("stage_seconds_count", "recognize:arcface"): 3,
            ("stage_seconds_count", "compare"): 1,
            ("batch_wait_seconds_count", "detect"): 4,
            ("batch_wait_seconds_count", "recognize:arcface"): 3,
            ("batch_wait_seconds_count", "group"): 4,  # in the ingress, by request
            ("similarity_count", "match"): 1,
            ("similarity_bucket", "match", "0.6"): 0,
            ("similarity_bucket", "match", "0.65"): 1,
        },
        "facegraph",
    )
    assert 0.6 < compared["similarity"] < 0.65
    assert 1 <= grown["batch_items_count", "detect"] <= 4


def test_requests_and_photos_are_counted_by_the_name_of_their_key(strict: httpx.Client) -> None:
    before = settled("strict")
    small = photo_bytes(YAOMING)
    wrong = {"authorization": "Bearer another"}
    assert strict.post("/v1/detect", headers=wrong).status_code == 401
    assert strict.get("/v1/models", headers={"authorization": ""}).status_code == 401
    assert strict.get("/v1/models").status_code == 200
    assert strict.post("/v1/detect", files={"picture": small}).status_code == 400
    pair = {"source": small, "target": small}
    assert strict.post("/v1/compare", files=pair).status_code == 504
    assert strict.get("/healthz", headers=wrong).status_code == 200
    grown = after(
        before,
        {
            ("requests_total", "detect", "unauthorized"): 1,
            ("key_requests_total", "unknown", "unauthorized"): 2,
            ("key_requests_total", "tests", "ok"): 1,
            ("key_requests_total", "tests", "invalid_request"): 1,
            ("key_requests_total", "tests", "deadline_exceeded"): 1,
            ("key_photos_total", "tests", "deadline_exceeded"): 2,
        },
        "strict",
    )
    assert sum(value for key, value in grown.items() if key[0] == "key_photos_total") == 2


def expiries() -> dict[str, float]:
    family = exported().get("ray_facegraph_key_expiry_timestamp_seconds")
    return {sample.labels["key"]: sample.value for sample in family.samples} if family else {}


def test_the_end_of_a_key_is_exported_until_the_key_is_removed(
    strict: httpx.Client, keys_file: Path
) -> None:
    before = keys_file.read_text()
    digest = digest_of(new_key().encode())
    keys_file.write_text(f"{before}ending: {{sha256: {digest}, expires: 2127-01-31}}\n")
    end = 4957027200.0  # date -ud 2127-01-31 +%s
    wait_until(lambda: expiries().get("ending") == end)
    keys_file.write_text(before)
    wait_until(lambda: "ending" not in expiries())
    assert "tests" not in expiries()  # that key has no end


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
