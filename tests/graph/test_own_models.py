"""A graph with an SCRFD detector, a recognizer and classifiers of the configuration's own section.

The classifiers are stand-ins with MiniFASNet's layout, for which a dark photo is a spoof.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from deployments.errors import ModelUnavailable, UnknownClassifier
from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph
from graph.cluster.measurement import measure_running
from graph.cluster.serve_file import deployment_names, graph_config
from tests.support.applications import added
from tests.support.classifiers import entry, save_classifier
from tests.support.photos import FEW_PLAYERS, GDP, PLAYERS, YAOMING, photo, photo_bytes, photo_path
from tests.support.terminal import facegraph
from tests.support.waiting import TIMEOUT_S

OWN: dict[str, Any] = {
    "kind": "recognizer",
    "title": "the default's file under a name of its own",
    "weights_file": str(photo_path("w600k_mbf.onnx")),
    "preprocessing": CATALOGUE["arcface-mbf"].preprocessing.model_dump(),
    "licence": "non-commercial research only",
    "commercial_use": False,
    "threshold": 0.4,
    "threshold_source": "measured on our own pairs",
}


def judges(folder: Path) -> dict[str, Any]:
    """Entries of a network of three classes, one of two, one of one score, and a missing file."""
    bright, even = np.full(3, 0.2 / 3), np.zeros(3)
    near = save_classifier(
        folder / "near.onnx", 80, np.stack([even, bright, even], axis=1), [0, -10, 0]
    )
    far = save_classifier(folder / "far.onnx", 80, np.stack([bright, even], axis=1), [-10, 0])
    mask = save_classifier(folder / "mask.onnx", 96, np.full((3, 1), -0.1 / 3), [5])
    three, one = ["spoof_0", "live", "spoof_2"], ["mask"]
    return {
        "near": entry(near, size=80, scale=2.7, labels=three),
        "far": entry(far, size=80, scale=4.0, labels=["live", "spoof"]),
        "mask": entry(mask, size=96, scale=1.5, square=True, labels=one, activation="sigmoid"),
        "gone": entry(folder / "gone.onnx", size=80, scale=1, labels=["no", "yes"]),
    }


@pytest.fixture(scope="module")
def graph(
    running: RunningGraph, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGraph]:
    models = judges(tmp_path_factory.mktemp("classifiers"))
    application: dict[str, Any] = {
        "name": "own",
        "route_prefix": "/own",
        "import_path": running.content["applications"][0]["import_path"],
        "args": {
            "models": {"own-mbf": OWN, **models},
            "detector": {"model": "scrfd-500m"},
            "recognizers": {"own": {"model": "own-mbf"}, "dlib": {"model": "dlib-resnet29"}},
            "classifiers": {name: {"model": name} for name in models},
            "liveness": {"classifiers": ["near", "far"], "threshold": 0.5},
            "calls": {"in_process_stages": True},
            "gallery": running.content["applications"][0]["args"]["gallery"],
        },
    }
    names = deployment_names(graph_config({"applications": [application]}))
    application["deployments"] = [
        {"name": name, "ray_actor_options": {"num_cpus": 0.05}} for name in names
    ]
    with added(running, application) as graph:
        yield graph


@pytest.fixture(scope="module")
def own(graph: RunningGraph) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=graph.url, timeout=TIMEOUT_S) as client:
        yield client


def test_own_models_are_told_with_their_licence_and_threshold(own: httpx.Client) -> None:
    models = own.get("/v1/models").json()["models"]
    served = {one["pool"] or one["stage"]: one for one in models}
    recognizer = served["own"]
    assert (recognizer["model"], recognizer["title"]) == ("own-mbf", OWN["title"])
    assert (recognizer["threshold"], recognizer["licence"]) == (0.4, OWN["licence"])
    assert (recognizer["commercial_use"], recognizer["embedding_size"]) == (False, 512)
    assert (served["dlib"]["commercial_use"], served["dlib"]["embedding_size"]) == (True, 128)
    assert recognizer["threshold_source"] == OWN["threshold_source"]
    assert recognizer["version"].startswith("own-mbf@")
    assert (served["detector"]["model"], served["detector"]["preset"]) == (
        "scrfd-500m",
        "insightface",
    )


@pytest.mark.parametrize(("target", "matches"), [(YAOMING, True), (PLAYERS, False)])
def test_own_models_compare_photos(own: httpx.Client, target: str, matches: bool) -> None:
    with photo_path(YAOMING).open("rb") as source, photo_path(target).open("rb") as other:
        answer = own.post("/v1/compare", files={"source": source, "target": other}).json()
    assert answer["decision"] == ("match" if matches else "mismatch"), answer


def test_a_recognizer_of_other_chips_runs_beside_one_of_arcfaces(own: httpx.Client) -> None:
    graph = FaceGraph.over_http(str(own.base_url))
    portrait = photo_path(YAOMING)
    [face] = graph.embed(portrait, recognizers=["own", "dlib"]).faces
    lengths = {pool: len(found.embedding) for pool, found in face.embeddings.items()}
    assert lengths == {"own": 512, "dlib": 128}
    same = graph.compare(portrait, portrait, recognizers=["dlib"])
    assert same.decision == "match"
    assert same.similarity == pytest.approx(1, abs=1e-4)


def dark() -> bytes:
    return cv2.imencode(".png", photo(YAOMING) // 4)[1].tobytes()


def test_liveness_is_decided_beside_the_recognizers(own: httpx.Client) -> None:
    portrait = photo_bytes(YAOMING)
    files = {"source": portrait, "target": portrait}
    answer = own.post("/v1/compare", files=files, data={"liveness": "true"}).json()
    assert answer["decision"] == "match", answer
    for face in (answer["source"], answer["target"]):
        assert face["liveness"]["decision"] == "live"
        assert 0.99 < face["liveness"]["score"] < 1
        assert face["liveness"]["threshold"] == 0.5
    stages = [timing["stage"] for timing in answer["timings"]]
    assert {"classify:near", "classify:far", "recognize:own"} <= set(stages)
    without = own.post("/v1/compare", files=files).json()
    assert "liveness" not in without["source"]


def test_a_spoof_is_no_match_by_every_way(own: httpx.Client, tmp_path: Path) -> None:
    portrait, spoof = photo_path(YAOMING), tmp_path / "dark.png"
    spoof.write_bytes(dark())
    by_handle, over_http = FaceGraph.connect("own"), FaceGraph.over_http(str(own.base_url))
    for graph in (by_handle, over_http):
        answer = graph.compare(portrait, spoof, liveness="target")
        assert (answer.decision, answer.matched) == ("spoof", False)
        assert answer.uncertain_because[0].startswith("target: liveness 0.0")
        assert answer.source.liveness is None
        assert graph.compare(portrait, spoof, liveness="source").decision != "spoof"
        [face] = graph.embed(spoof, liveness=True).faces
        assert face.liveness
        assert face.liveness.decision == "spoof"
    asked = ("compare", portrait, spoof, "--liveness", "both", "--url", str(own.base_url))
    shown = facegraph(*asked)
    assert (shown.code, shown.out.partition(":")[0]) == (1, "spoof")
    assert "liveness of source: live 0.9" in shown.out
    assert "liveness of target: spoof 0.0" in shown.out


def test_only_a_live_face_is_enrolled_where_liveness_is_asked(own: httpx.Client) -> None:
    galleries = FaceGraph.over_http(str(own.base_url)).galleries
    galleries.create("live-only", recognizer="own", policy="off")
    galleries.add_person("live-only", person="p")
    small = cv2.imencode(".png", cv2.resize(photo(YAOMING), None, fx=0.25, fy=0.25))[1].tobytes()
    photos = [dark(), small, photo_bytes(YAOMING)]
    spoof, unsure, live = galleries.enrol("live-only", "p", photos, liveness=True).photos
    assert [one.outcome for one in (spoof, unsure, live)] == ["refused", "refused", "enrolled"]
    assert [one.problems[0].reason for one in (spoof, unsure)] == ["spoof", "liveness_uncertain"]
    assert spoof.problems[0].message.startswith("images.0: liveness 0.0")
    assert "the face's shorter side is 26 px" in unsure.problems[0].message
    [unasked] = galleries.enrol("live-only", "p", [dark()]).photos
    assert unasked.outcome == "enrolled"
    galleries.delete("live-only")


def test_attributes_are_told_of_each_face(own: httpx.Client) -> None:
    graph = FaceGraph.over_http(str(own.base_url))
    [face] = graph.detect(dark(), attributes=["mask", "near"]).faces
    assert face.attributes["mask"].labels == ["mask"]
    assert face.attributes["near"].scores.keys() == {"spoof_0", "live", "spoof_2"}
    team = graph.embed(photo_bytes(FEW_PLAYERS), faces="all", attributes=["mask"]).faces
    assert len(team) > 5
    assert {tuple(one.attributes["mask"].labels) for one in team} == {()}
    small = team[0].attributes["mask"].uncertain_because
    assert small[0].startswith("the face's shorter side is")
    shown = facegraph("detect", photo_path(YAOMING), "-a", "mask", "--url", str(own.base_url))
    assert "face 0: mask: none" in shown.out


def test_what_is_not_served_is_told(own: httpx.Client, http: httpx.Client) -> None:
    graph = FaceGraph.over_http(str(own.base_url))
    with pytest.raises(UnknownClassifier, match=r"did you mean 'mask'"):
        graph.detect(dark(), attributes=["masc"])
    with pytest.raises(ModelUnavailable, match=r"gone\.onnx"):
        graph.detect(dark(), attributes=["gone"])
    ready = own.get("/readyz").json()
    assert (ready["unavailable_recognizers"], ready["unavailable_classifiers"]) == ([], ["gone"])
    off = http.post("/v1/embed", files={"image": dark()}, data={"liveness": "true"})
    assert (off.status_code, off.json()["error"]["code"]) == (404, "liveness_disabled")
    assert "`classifiers` and `liveness`" in off.json()["error"]["message"]
    wrong = own.post("/v1/compare", files={"source": b"", "target": b""}, data={"liveness": "x"})
    assert wrong.json()["error"]["details"]["field"] == "liveness"


def test_classifiers_are_among_the_models(own: httpx.Client) -> None:
    models = own.get("/v1/models").json()["models"]
    served = {one["pool"]: one for one in models if one["stage"] == "classifier"}
    assert served["near"]["labels"] == ["spoof_0", "live", "spoof_2"]
    assert served["near"]["deployment"] == "Classifier:near"
    assert served["near"]["available"]
    assert "gone.onnx" in served["gone"]["unavailable_reason"]


def test_service_times_are_measured_where_requests_go_and_nowhere_else(
    graph: RunningGraph,
) -> None:
    photos = photo_path(YAOMING), photo_path(GDP)
    costs = measure_running(graph, "compare", photos, requests=10).cost_s
    busy = {name: cost for name, cost in costs.items() if cost}
    assert busy.keys() == {"Ingress", "Detector", "Recognizer:own"}  # with stages in process
    assert all(0 < cost < 5 for cost in busy.values()), busy
    assert costs.keys() > busy.keys()
    detect = measure_running(graph, "detect", photos, requests=5).cost_s
    assert detect["Detector"] > 0
    assert detect["Recognizer:own"] == detect["Aligner"] == 0.0
