"""A graph with an SCRFD detector and a recognizer of the configuration's own section."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from configs.catalogue import CATALOGUE
from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import deployment_names, graph_config
from tests.support.applications import added
from tests.support.photos import PLAYERS, YAOMING, photo_path
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


@pytest.fixture(scope="module")
def own(running: RunningGraph) -> Iterator[httpx.Client]:
    application: dict[str, Any] = {
        "name": "own",
        "route_prefix": "/own",
        "import_path": running.content["applications"][0]["import_path"],
        "args": {
            "models": {"own-mbf": OWN},
            "detector": {"model": "scrfd-500m"},
            "recognizers": {"own": {"model": "own-mbf"}},
        },
    }
    names = deployment_names(graph_config({"applications": [application]}))
    application["deployments"] = [
        {"name": name, "ray_actor_options": {"num_cpus": 0.05}} for name in names
    ]
    with (
        added(running, application) as graph,
        httpx.Client(base_url=graph.url, timeout=TIMEOUT_S) as client,
    ):
        yield client


def test_own_models_are_told_with_their_licence_and_threshold(own: httpx.Client) -> None:
    served = {entry["stage"]: entry for entry in own.get("/v1/models").json()["models"]}
    recognizer = served["recognizer"]
    assert (recognizer["model"], recognizer["title"]) == ("own-mbf", OWN["title"])
    assert (recognizer["threshold"], recognizer["licence"]) == (0.4, OWN["licence"])
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
