"""Tables of faces, and the parts that they grow from."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deployments.contracts import Detections, Embeddings
from deployments.errors import InvalidRequest
from graph.batch.table import (
    FaceParts,
    PhotoFaces,
    faces_of,
    faces_schema,
    problems_of,
    results_table,
)

POOLS = ("arcface", "rts")


def faces(photo: str, count: int) -> PhotoFaces:
    points = np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2)
    detections = Detections(points.reshape(count, 10)[:, :4], points[:, 0, 0], points)
    vectors = np.full((count, 512), count, np.float32)
    certain = Embeddings(vectors, None, "arcface")
    uncertain = Embeddings(-vectors, np.arange(count, dtype=np.float32), "rts")
    return PhotoFaces(photo, 640, 480, detections, (certain, uncertain))


def results(*photos: PhotoFaces) -> pa.Table:
    return results_table(photos, POOLS)


def parts(folder: Path, run: str = "one") -> FaceParts:
    return FaceParts(folder / "faces.parquet", {"run": run}, faces_schema(POOLS))


def test_a_face_is_a_row_with_its_embeddings() -> None:
    table = faces_of(results(faces("a.jpg", 2), PhotoFaces("b.jpg"), faces("c.jpg", 1)))
    assert table.schema == faces_schema(POOLS)
    assert table["photo"].to_pylist() == ["a.jpg", "a.jpg", "c.jpg"]
    assert table["face"].to_pylist() == [0, 1, 0]
    assert table["box"].to_pylist()[1] == [10, 11, 12, 13]
    assert table["landmarks"].to_pylist()[1] == list(range(10, 20))
    assert table["embedding_arcface"].to_pylist()[0] == [2.0] * 512
    assert table["embedding_rts"].to_pylist()[2] == [-1.0] * 512
    assert table["uncertainty_rts"].to_pylist() == [0, 1, 0]
    assert table["uncertainty_arcface"].null_count == 3


def test_problems_are_told_by_photo() -> None:
    table = results(PhotoFaces("bad.jpg", problem="not a JPEG"), PhotoFaces("none.jpg"))
    assert problems_of(table) == {"bad.jpg": "not a JPEG"}
    assert not len(faces_of(table))


def test_another_run_goes_on_after_what_is_done(tmp_path: Path) -> None:
    first = parts(tmp_path)
    first.add(results(faces("a.jpg", 2), PhotoFaces("b.jpg"), PhotoFaces("bad.jpg", problem="x")))
    first.flush()
    second = parts(tmp_path)
    assert second.done == {"a.jpg", "b.jpg"}  # the bad one is tried again
    assert second.faces == 2
    second.add(results(faces("c.jpg", 1)))
    second.join()
    table = pq.read_table(tmp_path / "faces.parquet")
    assert table["photo"].to_pylist() == ["a.jpg", "a.jpg", "c.jpg"]
    assert [file.name for file in tmp_path.iterdir()] == ["faces.parquet"]


def test_parts_of_other_models_are_not_gone_on_with(tmp_path: Path) -> None:
    first = parts(tmp_path)
    first.add(results(faces("a.jpg", 1)))
    first.flush()
    with pytest.raises(InvalidRequest, match="begun with other models"):
        parts(tmp_path, run="two")


def test_what_was_cut_off_while_it_was_written_is_no_part(tmp_path: Path) -> None:
    first = parts(tmp_path)
    (tmp_path / "faces.parquet.parts" / "1.draft").write_bytes(b"PAR1")
    first.add(results(faces("a.jpg", 1)))
    first.join()
    assert len(pq.read_table(tmp_path / "faces.parquet")) == 1


def test_no_face_at_all_is_an_empty_table(tmp_path: Path) -> None:
    none = parts(tmp_path)
    none.add(results(PhotoFaces("a.jpg")))
    none.join()
    assert pq.read_table(tmp_path / "faces.parquet").schema.names == faces_schema(POOLS).names
