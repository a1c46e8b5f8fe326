"""The parts that a table of faces is written in."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deployments.errors import InvalidRequest
from graph.batch.parts import FaceParts
from graph.batch.table import PhotoFaces, faces_schema
from tests.graph.batch.test_table import POOLS, faces, results

PHOTOS = ("a.jpg", "b.jpg", "bad.jpg", "c.jpg")


def parts(
    folder: Path,
    run: str = "one",
    photos: Sequence[str] = PHOTOS,
    *,
    out: str = "faces.parquet",
    pools: Mapping[str, int] = POOLS,
) -> FaceParts:
    return FaceParts(folder / out, photos, {"run": run}, faces_schema(pools))


def test_another_run_continues_after_the_photos_that_are_done(tmp_path: Path) -> None:
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


def test_faces_of_photos_that_were_deleted_since_are_left_out(tmp_path: Path) -> None:
    first = parts(tmp_path)
    first.add(results(faces("a.jpg", 2), faces("b.jpg", 1)))
    first.flush()
    second = parts(tmp_path, photos=["b.jpg", "c.jpg"])
    assert second.faces == 1
    second.add(results(faces("c.jpg", 1)))
    second.join()
    table = pq.read_table(tmp_path / "faces.parquet")
    assert table["photo"].to_pylist() == ["b.jpg", "c.jpg"]


def test_parts_of_other_models_are_refused(tmp_path: Path) -> None:
    first = parts(tmp_path)
    first.add(results(faces("a.jpg", 1)))
    first.flush()
    with pytest.raises(InvalidRequest, match="begun with other models"):
        parts(tmp_path, run="two")
    with pytest.raises(InvalidRequest, match="begun with other models"):
        parts(tmp_path, pools={"arcface": 512})  # as a version of FaceGraph with other columns


def test_the_file_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"f\xe4ces\n.parquet")
    first = parts(tmp_path, out=name)
    first.add(results(faces("a.jpg", 2)))
    first.flush()
    parts(tmp_path, out=name).join()
    with (tmp_path / name).open("rb") as file:
        assert pq.read_table(file)["photo"].to_pylist() == ["a.jpg", "a.jpg"]


def test_a_draft_that_an_interrupted_write_left_is_no_part(tmp_path: Path) -> None:
    first = parts(tmp_path)
    (tmp_path / "faces.parquet.parts" / ".1.parquet.00").write_bytes(b"PAR1")
    first.add(results(faces("a.jpg", 1)))
    first.join()
    assert len(pq.read_table(tmp_path / "faces.parquet")) == 1


def test_a_run_without_a_face_writes_an_empty_table(tmp_path: Path) -> None:
    none = parts(tmp_path)
    none.add(results(PhotoFaces("a.jpg")))
    none.join()
    assert pq.read_table(tmp_path / "faces.parquet").schema.names == faces_schema(POOLS).names
