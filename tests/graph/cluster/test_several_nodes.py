"""Several nodes: where stages run, how often photos cross nodes, a node that is lost under load."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.calls import CallsConfig
from tests.support.profiles import ROOT


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The observations of tests/support/several_nodes.py."""
    file: Path = tmp_path_factory.mktemp("nodes") / "seen.json"
    command = [sys.executable, "-m", "tests.support.several_nodes", str(file)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


def test_stages_are_placed_by_resources_and_labels_as_the_file_says(seen: Any) -> None:
    assert seen["placement"] == {
        "Ingress": ["ingress"],
        "Detector": ["detector"],
        "Aligner": ["detector"],
        "Recognizer:arcface": ["recognizer-1", "recognizer-2"],
        "Aggregator": ["ingress"],
    }


def test_it_compares_over_http_and_by_handle(seen: Any) -> None:
    assert seen["by_handle"] is True
    assert seen["transfers"]["small"]["similarity"] == pytest.approx(1, abs=1e-3)
    assert seen["transfers"]["large"]["similarity"] > 0.9


def test_small_photos_take_no_object_store(seen: Any) -> None:
    """They go from the ingress to the detector in the call itself."""
    assert set(seen["transfers"]["small"]["stored"].values()) == {0}


def test_a_large_photo_is_copied_to_the_detectors_node_once_and_nowhere_else(seen: Any) -> None:
    """Both photos of the request are in one argument, the small one included."""
    photos = seen["transfers"]["large"]["bytes"] + seen["transfers"]["small"]["bytes"]
    stored = seen["transfers"]["large"]["stored"]
    assert photos <= stored["ingress"] < photos + 10_000
    assert stored["detector"] == stored["ingress"]
    assert stored["recognizer-1"] == stored["recognizer-2"] == 0


def test_only_a_small_part_of_a_photo_goes_further_than_the_detector(seen: Any) -> None:
    sent = seen["sent_on"]
    assert sent["photo"] > CallsConfig().inline_up_to_bytes
    assert max(sent["crops"], sent["chips"]) < sent["photo"] / 10


def test_chips_go_from_node_to_node_once_and_never_through_the_ingress(seen: Any) -> None:
    """The embeddings that the ingress answers with take 12 KB, which need no object store."""
    stored = seen["passed_on"]
    assert stored["ingress"] == 0
    assert stored["detector"] > stored["chips"]  # the crops too, which the aligner finds there
    received = stored["recognizer-1"], stored["recognizer-2"]
    assert min(received) == 0
    assert stored["chips"] < max(received) < 1.1 * stored["chips"]


def test_a_node_lost_under_load_loses_no_request(seen: Any) -> None:
    assert seen["placement_after"]["Recognizer:arcface"] == ["recognizer-1"]
    assert list(seen["lost"]["answers"]) == ["right"]
    assert seen["lost"]["after"]["right"] > 0
