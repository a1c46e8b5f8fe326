"""`facegraph gallery enrol`: a folder of persons, again and again."""

import csv
import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from graph.cluster.launch import RunningGraph
from graph.commands.main import app
from tests.support.photos import GDP, YAOMING, photo_bytes
from tests.support.terminal import facegraph_gallery

GALLERY = "/v1/galleries/people"


@pytest.mark.cluster
def test_a_second_run_sends_only_what_is_missing_and_bad_photos_are_listed(
    gallery: str, http: httpx.Client, running: RunningGraph, tmp_path: Path
) -> None:
    folder, listed = tmp_path / "people", tmp_path / "bad.csv"
    (folder / "yao").mkdir(parents=True)
    (folder / "yao" / "1.jpg").write_bytes(photo_bytes(YAOMING))
    (folder / "yao" / "leaders.jpg").write_bytes(photo_bytes(GDP))
    (folder / "yao" / "cut.jpg").write_bytes(photo_bytes(YAOMING)[:3000])
    (folder / "yao" / "notes.txt").write_text("no photo")
    arguments = (gallery, folder, "--url", running.url, "--json", "--failures", listed)

    first = json.loads(facegraph_gallery("enrol", *arguments, code=1))
    assert {name: first[name] for name in ("persons", "enrolled", "refused", "skipped")} == {
        "persons": 1,
        "enrolled": 1,
        "refused": 2,
        "skipped": 1,
    }
    rows = list(csv.DictReader(listed.open(encoding="utf-8")))
    assert rows == first["failures"]
    reasons = {row["photo"]: row["reason"] for row in rows}
    assert list(reasons) == ["yao/notes.txt", "yao/cut.jpg", "yao/leaders.jpg"]
    assert "several faces" in reasons["yao/leaders.jpg"]

    before = http.get(f"{GALLERY}/audit").json()["entries"]
    assert json.loads(facegraph_gallery("enrol", *arguments, code=1))["exists"] == 1
    assert http.get(f"{GALLERY}/audit").json()["entries"] == before
    assert http.get(f"{GALLERY}/persons/yao").json()["faces"] == 1


def test_a_folder_whose_name_is_no_id_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "Yao Ming").mkdir()
    (tmp_path / "Yao Ming" / "1.jpg").write_bytes(photo_bytes(YAOMING))
    done = CliRunner().invoke(app, ["gallery", "enrol", "people", str(tmp_path)])
    assert done.exit_code == 2
    assert "rename" in done.output
