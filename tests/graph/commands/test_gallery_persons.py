"""`facegraph gallery show, delete, persons, person, verify` and what changes persons and faces."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from graph.cluster.launch import RunningGraph
from graph.commands.main import app
from tests.support.photos import YAOMING, photo_bytes
from tests.support.terminal import facegraph_gallery

OLD, NEW = "/v1/galleries/old", "/v1/galleries/new"


def as_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(facegraph_gallery(*arguments, "--json", code=code))


@pytest.mark.cluster
def test_persons_and_faces_are_shown_verified_moved_merged_and_deleted(
    http: httpx.Client, running: RunningGraph, tmp_path: Path
) -> None:
    photo = tmp_path / "yao.jpg"
    photo.write_bytes(photo_bytes(YAOMING))
    server = ("--url", running.url)
    settings = ("--min-margin", "0.1", "--scoring", "centroid", "--max-faces", "3")
    try:
        made = as_json("create", "old", *settings, *server)
        assert (made["min_margin"], made["scoring"], made["max_faces_per_person"]) == (
            0.1,
            "centroid",
            3,
        )
        facegraph_gallery("create", "new", *server)
        facts = ("--metadata", "team=red", "--metadata", '{"floor": 3}')
        as_json("add-person", "old", "yao", "--name", "Yao", *facts, *server)
        facegraph_gallery("add-person", "old", "ming", "--name", "Ming", *server)
        change = ("change-person", "old", "yao", "--no-name", "--expires", "2127-01-31", *server)
        assert re.search(r"yao +0 +team: red, floor: 3 +2127-01-31", facegraph_gallery(*change))
        done = http.post(f"{OLD}/persons/yao/faces", files={"images": photo.open("rb")}).json()
        face = done["photos"][0]["face"]["id"]

        assert as_json("show", "old", *server) == made | {
            "version": as_json("show", "old", *server)["version"],
            "persons": 2,
            "faces": 1,
        }
        assert re.search(r"scoring +centroid", facegraph_gallery("show", "old", *server))
        listed = facegraph_gallery("persons", "old", "--limit", "1", *server)
        assert re.search(r"ming +Ming +0", listed)
        cursor = listed.split("--cursor '")[1].split("'")[0]
        for chosen in (("--cursor", cursor), ("--filter", '{"team": "red"}')):
            (person,) = as_json("persons", "old", *chosen, *server)["persons"]
            assert person["id"] == "yao"
        assert as_json("person", "old", "yao", *server)["faces"][0]["id"] == face
        assert face in facegraph_gallery("person", "old", "yao", *server)
        assert "match: similarity 1.000" in facegraph_gallery(
            "verify", "old", "yao", photo, *server
        )
        assert as_json("verify", "old", "ming", photo, *server, code=2)["error"]

        assert "now of ming" in facegraph_gallery("move-face", "old", "yao", face, "ming", *server)
        assert as_json("merge-persons", "old", "yao", "ming", *server)["faces"] == 1
        assert "in new, 1 faces" in facegraph_gallery("move-person", "old", "yao", "new", *server)
        assert http.get(f"{NEW}/persons/yao/faces").json()["faces"][0]["id"] == face
        assert http.get(f"{OLD}/persons").json()["persons"] == []
        entries = as_json("audit", "old", "--limit", "3", *server)
        assert [entry["action"] for entry in entries] == [
            "move_person",
            "merge_persons",
            "move_face",
        ]
        assert entries[2]["persons"] == ["yao", "ming"]

        assert facegraph_gallery("delete-face", "new", "yao", face, *server).startswith(face)
        assert as_json("delete-person", "new", "yao", *server)["purged"]
        assert "not there" in facegraph_gallery("delete-person", "new", "yao", *server, code=1)
        assert as_json("delete", "new", "--yes", *server)["deleted"]
    finally:
        for gallery in (OLD, NEW):
            http.delete(gallery).raise_for_status()


def test_a_gallery_is_not_deleted_unless_the_answer_is_yes() -> None:
    done = CliRunner().invoke(app, ["gallery", "delete", "staff", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 1
    assert "all its persons" in done.output


def test_no_graph_is_started_for_galleries_that_its_file_does_not_have(tmp_path: Path) -> None:
    export = tmp_path / "staff.ndjson"
    export.write_text('{"gallery": "staff", "recognizer": "arcface"}\n')
    for command in (("list",), ("enrol", "staff", tmp_path), ("import", "staff", export)):
        done = CliRunner().invoke(app, ["gallery", *map(str, command)], env={"FACEGRAPH_URL": None})
        assert done.exit_code == 2
        assert "gallery: {enabled: true}" in done.output
        assert "Starting" not in done.output


def test_a_filter_is_a_json_object() -> None:
    for text in ("team", "[1]"):
        done = CliRunner().invoke(app, ["gallery", "persons", "staff", "--filter", text])
        assert done.exit_code == 2
        assert "JSON object" in done.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("add-person", "staff", "yao", "--metadata", "team"), "expected KEY=VALUE"),
        (("add-person", "staff", "yao", "--metadata", "=red"), "expected KEY=VALUE"),
        (("add-person", "staff", "yao", "--metadata", '{"team": [1]}'), "metadata.team: expected"),
        (("add-person", "staff", "yao", "--expires", "2020-01-01"), "is past"),
        (("change-person", "staff", "yao"), "nothing to change"),
        (("change-person", "staff", "yao", "--name", "Yao", "--no-name"), "value or none"),
    ],
)
def test_wrong_facts_of_a_person_are_not_sent(command: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["gallery", *command, "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert message in done.output


def test_a_server_is_asked_for_the_audit_of_one_gallery() -> None:
    done = CliRunner().invoke(app, ["gallery", "audit", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "name it" in done.output
