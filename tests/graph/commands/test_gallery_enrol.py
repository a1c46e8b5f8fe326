"""`facegraph gallery enrol`: a folder of persons, again and again."""

import csv
import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from graph.batch.folder import photos_by_person
from graph.batch.ray_enrolment import enrol_on_ray_data
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


@pytest.mark.cluster
def test_an_enrolment_on_ray_data_is_interrupted_and_goes_on(
    gallery: str, http: httpx.Client, running: RunningGraph, tmp_path: Path
) -> None:
    """Each person has the same photo, which the gallery's policy allows."""
    http.put(GALLERY, json={"policy": "off"}).raise_for_status()
    people = [f"p-{number}" for number in range(5)]
    for person in people:
        (tmp_path / person).mkdir()
        (tmp_path / person / "1.jpg").write_bytes(photo_bytes(YAOMING))
    (tmp_path / "p-4" / "cut.jpg").write_bytes(photo_bytes(YAOMING)[:3000])

    photos, _ = photos_by_person(tmp_path)
    started = enrol_on_ray_data(
        gallery,
        tmp_path,
        photos,
        address=running.address,
        app_name=running.app_name,
        at_a_time=1,
    )
    assert next(started)[0].outcome == "enrolled"
    started.close()
    cluster = ("--address", running.address, "--at-a-time", "1", "--json")
    done = json.loads(facegraph_gallery("enrol", gallery, tmp_path, *cluster, code=1))
    assert (done["persons"], done["refused"]) == (5, 1)
    assert done["exists"] >= 1
    assert done["exists"] + done["enrolled"] == len(people)
    assert [failure["photo"] for failure in done["failures"]] == ["p-4/cut.jpg"]
    entries = http.get(f"{GALLERY}/audit").json()["entries"]
    enrolled = [entry["persons"][0] for entry in entries if entry["action"] == "enrol"]
    # The trail outlives a gallery: it has what tests before did in one of the same name.
    assert sorted(person for person in enrolled if person in people) == people

    missing = json.loads(facegraph_gallery("enrol", "none", tmp_path, *cluster, code=2))
    assert missing["error"]["code"] == "unknown_gallery"


def test_a_folder_whose_name_is_no_id_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "Yao Ming").mkdir()
    (tmp_path / "Yao Ming" / "1.jpg").write_bytes(photo_bytes(YAOMING))
    done = CliRunner().invoke(app, ["gallery", "enrol", "people", str(tmp_path)])
    assert done.exit_code == 2
    assert "rename" in done.output
