"""`facegraph embed`: on Ray Data, and on the running graph."""

import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph
from tests.support.faulty_proxy import FORWARDED, Answer, front_of
from tests.support.photos import GDP, YAOMING, photo_path
from tests.support.profiles import ROOT
from tests.support.terminal import Done, facegraph

NO_MORE = (
    b'{"error": {"code": "unauthorized", "message": "no more", "details": {}}, "request_id": ""}'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, six faces, and two files that are no photos."""
    album = tmp_path / "album"
    (album / "below").mkdir(parents=True)
    copyfile(photo_path(YAOMING), album / "man.JPG")
    copyfile(photo_path(GDP), album / "below" / "group.jpg")
    (album / "bad.png").write_bytes(b"no picture")
    (album / "notes.txt").write_text("not looked at")
    return album


def test_faces_of_a_folder_on_ray_data(
    running: RunningGraph, client: FaceGraph, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "faces.parquet"
    options = ["--out", str(out), "--json", "--address", running.address, "--workers", "1"]
    command = [sys.executable, "-m", "graph.commands.main", "embed", str(folder), *options]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    done = Done(ran.returncode, ran.stdout, ran.stderr)
    assert done.code == 1, done.err
    assert (done.json["photos"], done.json["faces"]) == (3, 6)
    assert [bad["photo"] for bad in done.json["bad"]] == ["bad.png"]
    assert "bad.png: not a readable" in done.err
    table = pq.read_table(out)
    assert sorted(table["photo"].to_pylist()) == ["below/group.jpg"] * 5 + ["man.JPG"]
    [man] = table.filter([name == "man.JPG" for name in table["photo"].to_pylist()]).to_pylist()
    served = client.embed(photo_path(YAOMING)).faces[0]
    assert man["box"] == pytest.approx(served.box, abs=1)
    assert np.dot(man["embedding_arcface"], served.embeddings["arcface"].embedding) > 0.995
    assert (man["width"], man["height"], man["face"]) == (233, 287, 0)


@pytest.mark.cluster
def test_a_private_cluster_prints_nothing_of_its_own(folder: Path, tmp_path: Path) -> None:
    (folder / "phone.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    options = ["--out", str(tmp_path / "faces.parquet"), "--workers", "1"]
    command = [sys.executable, "-m", "graph.commands.main", "embed", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr.splitlines() == [
        "Only .jpg, .jpeg, .png, .webp, .bmp, .heic, .heif, .avif are read; left out: 1 .txt",
        "bad.png: not a readable JPEG, PNG, WebP or BMP image",
        "phone.HEIC: not a readable HEIC image",
    ]
    assert (done.returncode, "6 faces of 2 photos" in done.stdout) == (1, True)


def test_a_running_graph_may_do_the_work(running: RunningGraph, folder: Path) -> None:
    out = folder.with_name("faces.parquet")
    command: list[str | Path] = [
        "embed",
        folder,
        "--out",
        out,
        "--url",
        running.url,
        "-r",
        "arcface",
        "-r",
        "second",
    ]
    done = facegraph(*command, "--faces", "largest", "--json")
    assert (done.code, done.json["faces"], len(done.json["bad"])) == (1, 2, 1)
    columns = pq.read_table(out).schema.names
    assert {"embedding_arcface", "embedding_second"} <= set(columns)
    refused = facegraph(*command)
    assert (refused.code, "--again replaces it" in refused.err) == (2, True)
    (folder / "bad.png").unlink()
    replaced = facegraph(*command, "--again")
    assert (replaced.code, "6 faces of 2 photos" in replaced.out) == (0, True)


def test_after_an_interruption_only_the_photos_left_are_embedded(
    running: RunningGraph, tmp_path: Path
) -> None:
    folder, out, count = tmp_path / "album", tmp_path / "faces.parquet", 30
    folder.mkdir()
    for index in range(count):
        copyfile(photo_path(YAOMING), folder / f"{index:02}.jpg")
    stopped = Answer(401, NO_MORE)
    with front_of(running.url, *[FORWARDED] * 22, *[stopped] * 30) as front:
        command: list[str | Path] = ["embed", folder, "--out", out, "--url", front.url]
        broken = facegraph(*command)
        assert (broken.code, broken.err.splitlines()[-1]) == (2, "no more")
        assert not out.exists()
        front.plan, front.seen = [], 0
        assert facegraph(*command).out.strip() == f"{out}: {count} faces of {count} photos"
        assert front.seen < count  # the models, and the photos that were left
    assert sorted(pq.read_table(out)["photo"].to_pylist()) == [f"{i:02}.jpg" for i in range(count)]


def test_wrong_arguments_are_named_before_any_work(running: RunningGraph, tmp_path: Path) -> None:
    out = tmp_path / "faces.parquet"
    empty = facegraph("embed", tmp_path, "--out", out, "--url", running.url)
    assert (empty.code, "no photo" in empty.err) == (2, True)
    copyfile(photo_path(YAOMING), tmp_path / "man.jpg")
    unknown = facegraph("embed", tmp_path, "--out", out, "--url", running.url, "-r", "nobody")
    assert (unknown.code, "'nobody' is not served" in unknown.err) == (2, True)
    unknown = facegraph("embed", tmp_path, "--out", out, "-r", "nobody")
    assert (unknown.code, "no recognizer 'nobody'" in unknown.err) == (2, True)
    both = facegraph("embed", tmp_path, "--out", out, "--url", running.url, "--address", "auto")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    table = facegraph("embed", tmp_path, "--out", tmp_path / "faces.csv", "--url", running.url)
    assert (table.code, "ends in .parquet" in " ".join(table.err.split())) == (2, True)
    assert not out.exists()


def test_weights_that_are_missing_are_named_before_a_cluster_starts(tmp_path: Path) -> None:
    copyfile(photo_path(YAOMING), tmp_path / "man.jpg")
    file, out = ROOT / "configs/profiles/full-cpu.yaml", tmp_path / "faces.parquet"
    models = {"FACEGRAPH_MODELS": str(tmp_path / "models")}
    done = facegraph("embed", tmp_path, "--out", out, "--config", file, **models)
    assert done.code == 2
    assert "facegraph models pull retinaface-r50" in done.err
