"""`facegraph embed`: on Ray Data, and on the running graph."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from graph.batch.names import path_of
from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph
from tests.support.faulty_proxy import FORWARDED, Answer, front_of
from tests.support.photos import GDP, YAOMING, photo_path
from tests.support.profiles import ROOT
from tests.support.terminal import Done, facegraph

NOT_UTF_8 = os.fsdecode(b"caf\xe9")
MAN = r"m\x0acaf\xe9"
SKIPPED = {
    "bad.png": "not a readable JPEG, PNG, WebP or BMP image",
    "notes.txt": "no image that is read",
    "pipe.jpg": "a named pipe",
}
NO_MORE = (
    b'{"error": {"code": "unauthorized", "message": "no more", "details": {}}, "request_id": ""}'
)


def in_c_locale(*arguments: str, cwd: Path = ROOT) -> Done:
    """Run the command in a process of its own, whose locale and output have ASCII only."""
    command = [sys.executable, "-m", "graph.commands.main", *arguments]
    locale = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | locale, check=False
    )
    return Done(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, seven faces, and three files that are no photos."""
    album = tmp_path / NOT_UTF_8
    (album / "below").mkdir(parents=True)
    copyfile(photo_path(YAOMING), album / f"m\n{NOT_UTF_8}")
    copyfile(photo_path(GDP), album / "below" / "group.jfif")
    (album / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (album / "notes.txt").write_text("no photo")
    os.mkfifo(album / "pipe.jpg")
    (album / ".DS_Store").write_bytes(b"passed over")
    return album


def test_faces_of_a_folder_on_ray_data(
    running: RunningGraph, client: FaceGraph, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "faces.parquet"
    options = ["--out", str(out), "--json", "--address", running.address, "--workers", "1"]
    done = in_c_locale("embed", str(folder), *options)
    assert done.code == 1, done.err
    assert (done.json["photos"], done.json["faces"]) == (2, 7)
    assert {skipped["file"]: skipped["reason"] for skipped in done.json["skipped"]} == SKIPPED
    for file, reason in SKIPPED.items():
        assert f"{file}: {reason}" in done.err
    table = pq.read_table(out)
    assert sorted(table["photo"].to_pylist()) == ["below/group.jfif"] * 6 + [MAN]
    [man] = table.filter([name == MAN for name in table["photo"].to_pylist()]).to_pylist()
    assert (folder / path_of(man["photo"])).read_bytes() == photo_path(YAOMING).read_bytes()
    served = client.embed(photo_path(YAOMING)).faces[0]
    assert man["box"] == pytest.approx(served.box, abs=1)
    assert np.dot(man["embedding_arcface"], served.embeddings["arcface"].embedding) > 0.995
    assert man["version_arcface"] == served.embeddings["arcface"].version
    assert (man["width"], man["height"], man["face"]) == (233, 287, 0)


def test_a_private_cluster_prints_nothing_of_its_own(folder: Path, tmp_path: Path) -> None:
    (folder / "phone.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    out = tmp_path / f"{NOT_UTF_8}.parquet"
    done = in_c_locale("embed", ".", "--out", str(out), "--workers", "1", cwd=folder)
    assert done.err.splitlines() == [
        "4 photos; 2 files skipped, which are listed at the end",
        "bad.png: not a readable JPEG, PNG, WebP or BMP image",
        "notes.txt: no image that is read",
        "phone.HEIC: not a readable HEIC image",
        "pipe.jpg: a named pipe",
    ]
    assert done.code == 1
    assert done.out.endswith("caf\\xe9.parquet: 7 faces of 2 photos; 4 files skipped\n")


def test_a_running_graph_may_do_the_work(
    running: RunningGraph, client: FaceGraph, folder: Path
) -> None:
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
    assert (done.code, done.json["faces"], len(done.json["skipped"])) == (1, 2, 3)
    table = pq.read_table(out)
    assert {"embedding_arcface", "embedding_second"} <= set(table.schema.names)
    assert table["photo"].to_pylist() == ["below/group.jfif", MAN]
    [version] = [model.version for model in client.models().models if model.pool == "second"]
    assert table["version_second"].to_pylist() == [version] * 2
    refused = facegraph(*command)
    assert (refused.code, "--again replaces it" in refused.err) == (2, True)
    for file in SKIPPED:
        (folder / file).unlink()
    replaced = facegraph(*command, "--again")
    assert (replaced.code, "7 faces of 2 photos" in replaced.out) == (0, True)


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
