"""`facegraph gallery import-compreface, import-insightface-server`."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from graph.batch.enrolment import person_id
from graph.cluster.launch import RunningGraph
from tests.support.compreface import KEY, compreface
from tests.support.insightface_server import (
    COLLECTION,
    DETECTOR,
    ServerFace,
    ServerPerson,
    server_file,
    unit,
)
from tests.support.photos import YAOMING, photo_bytes
from tests.support.terminal import facegraph_gallery

W600K_R50 = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
GALLERY = "/v1/galleries/people"


@pytest.mark.cluster
def test_the_subjects_of_a_compreface_server_become_persons(
    gallery: str, http: httpx.Client, running: RunningGraph
) -> None:
    images = {"1": ("Yao Ming", photo_bytes(YAOMING)), "2": ("Yao Ming", b"")}
    with compreface(images) as source:
        arguments = ("import-compreface", gallery, source, "--key", KEY, "--url", running.url)
        done = json.loads(facegraph_gallery(*arguments, "--json", code=1))
        assert (done["persons"], done["enrolled"], done["refused"]) == (1, 1, 1)
        assert "1 exists" in facegraph_gallery(*arguments, code=1)
    (person,) = http.get(f"{GALLERY}/persons").json()["persons"]
    assert (person["id"], person["name"]) == (person_id("Yao Ming"), "Yao Ming")


@pytest.mark.cluster
def test_embeddings_of_the_same_recognizer_are_carried_over_and_others_refused(
    gallery: str, http: httpx.Client, running: RunningGraph, tmp_path: Path
) -> None:
    photo = {"image": photo_bytes(YAOMING)}
    face = http.post("/v1/embed", files=photo).json()["faces"][0]
    vector = np.asarray(face["embeddings"]["arcface"]["embedding"], np.float32)
    persons = (
        ServerPerson("yao", "Yao Ming", "HR-1", faces=[ServerFace("f-1", vector)]),
        ServerPerson("other", faces=[ServerFace("f-2", unit(1), source="external_trusted")]),
        ServerPerson("third", "x\0y"),
    )
    command = ("import-insightface-server", gallery)
    server = (COLLECTION, "--url", running.url, "--json")
    file = server_file(tmp_path / "a.db", *persons)
    done = json.loads(facegraph_gallery(*command, file, *server, code=1))
    assert (done["persons"], done["faces"]) == (2, 1)
    assert [(one["person"], one["face"]) for one in done["refused"]] == [
        ("other", "f-2"),
        ("third", ""),
    ]
    assert json.loads(facegraph_gallery(*command, file, *server, code=1))["faces"] == 0
    found = http.post(f"{GALLERY}/search", files=photo).json()["faces"][0]
    assert found["decision"] == "match"
    (best, *_) = found["candidates"]
    assert (best["person"], best["metadata"]) == ("yao", {"external_id": "HR-1"})
    assert best["similarity"] == pytest.approx(1, abs=1e-5)

    # The crops are enrolled, whatever the models: here a photo that is as large as one.
    crop = ServerFace("f-3", unit(1), crop=photo_bytes(YAOMING))
    file = server_file(tmp_path / "c.db", ServerPerson("min", external_id="HR-2", faces=[crop]))
    done = json.loads(facegraph_gallery(*command, file, *server, "--crops", code=1))
    assert (done["persons"], done["refused"]) == (1, 1)
    assert "another person" in done["failures"][0]["reason"]
    assert http.get(f"{GALLERY}/persons/min").json()["metadata"] == {"external_id": "HR-2"}
    for models, word in (((DETECTOR, "0" * 64), "--models"), ((DETECTOR, W600K_R50), "anew")):
        other = server_file(tmp_path / f"{word}.db", *persons, models=models)
        error = json.loads(facegraph_gallery(*command, other, *server, code=2))["error"]
        assert error["code"] == "wrong_model"
        assert word in error["message"]
