"""Tables of faces."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from deployments.contracts import Detections, Embeddings
from deployments.errors import InvalidRequest
from deployments.images.template import TEMPLATE
from graph.batch.table import (
    PhotoFaces,
    faces_of,
    faces_schema,
    problems_of,
    results_table,
)

POOLS = {"arcface": 512, "rts": 128}


def faces(photo: str, count: int) -> PhotoFaces:
    points = np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2)
    detections = Detections(points.reshape(count, 10)[:, :4], points[:, 0, 0], points)
    vectors = np.full((count, 512), count, np.float32)
    certain = Embeddings(vectors, None, "arcface", version="arcface-mbf@9cc6e4a75f0e")
    uncertain = Embeddings(-vectors[:, :128], np.arange(count, dtype=np.float32), "rts")
    return PhotoFaces(photo, 640, 480, detections, (certain, uncertain))


def test_a_turned_face_and_its_faults() -> None:
    upside_down = np.float32(200) - TEMPLATE[None]
    found = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), upside_down)
    poor = PhotoFaces(
        "a.jpg", 200, 200, found, quality=np.array([0.25], np.float32), reasons=[["turned"]]
    )
    [row] = results_table([poor], {}).to_pylist()
    assert abs(row["roll"]) == pytest.approx(180, abs=0.01)
    assert (row["quality"], row["reasons"]) == (0.25, ["turned"])
    [row] = results_table([replace(poor, quality=None)], {}).to_pylist()
    assert (row["quality"], row["reasons"]) == (None, None)


def results(*photos: PhotoFaces) -> pa.Table:
    return results_table(photos, POOLS)


def test_a_face_is_a_row_with_its_embeddings() -> None:
    table = faces_of(results(faces("a.jpg", 2), PhotoFaces("b.jpg"), faces("c.jpg", 1)))
    assert table.schema == faces_schema(POOLS)
    assert table["photo"].to_pylist() == ["a.jpg", "a.jpg", "c.jpg"]
    assert table["face"].to_pylist() == [0, 1, 0]
    assert table["box"].to_pylist()[1] == [10, 11, 12, 13]
    assert table["landmarks"].to_pylist()[1] == list(range(10, 20))
    assert table["embedding_arcface"].to_pylist()[0] == [2.0] * 512
    assert table["embedding_rts"].to_pylist()[2] == [-1.0] * 128
    assert table["uncertainty_rts"].to_pylist() == [0, 1, 0]
    assert table["uncertainty_arcface"].null_count == 3
    assert table["version_arcface"].to_pylist() == ["arcface-mbf@9cc6e4a75f0e"] * 3
    assert table["version_rts"].null_count == 3


def test_problems_are_told_by_photo() -> None:
    table = results(PhotoFaces("bad.jpg", problem="not a JPEG"), PhotoFaces("none.jpg"))
    assert problems_of(table) == {"bad.jpg": "not a JPEG"}
    assert not len(faces_of(table))


def test_embeddings_of_another_length_than_before_are_refused() -> None:
    photo = faces("a.jpg", 1)
    short = Embeddings(np.ones((1, 128), np.float32), None, "arcface")
    with pytest.raises(InvalidRequest, match="arcface gives embeddings of 128 numbers now"):
        results(replace(photo, embeddings=(short,)))
