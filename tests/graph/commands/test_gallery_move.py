"""`facegraph gallery move-person, move-face`, and `audit` of a server."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from graph.cluster.launch import RunningGraph
from graph.commands.main import app
from tests.support.photos import YAOMING, photo_bytes
from tests.support.terminal import facegraph_gallery

OLD, NEW = "/v1/galleries/old", "/v1/galleries/new"


@pytest.mark.cluster
def test_a_face_and_a_person_are_moved_and_the_audit_tells_it(
    http: httpx.Client, running: RunningGraph
) -> None:
    server = ("--url", running.url)
    for gallery in (OLD, NEW):
        http.put(gallery).raise_for_status()
    for person in ("yao", "ming"):
        http.post(f"{OLD}/persons", json={"id": person}).raise_for_status()
    photo = {"images": ("a.jpg", photo_bytes(YAOMING))}
    done = http.post(f"{OLD}/persons/yao/faces", files=photo).raise_for_status().json()
    face = done["photos"][0]["face"]["id"]
    try:
        assert "now of ming" in facegraph_gallery("move-face", "old", "yao", face, "ming", *server)
        assert "in new, 1 faces" in facegraph_gallery("move-person", "old", "ming", "new", *server)
        assert http.get(f"{NEW}/persons/ming/faces").json()["faces"][0]["id"] == face
        assert http.get(f"{OLD}/persons/ming").status_code == 404
        entries = json.loads(facegraph_gallery("audit", "old", "--limit", "2", "--json", *server))
        assert [entry["action"] for entry in entries] == ["move_person", "move_face"]
        assert entries[1]["persons"] == ["yao", "ming"]
    finally:
        for gallery in (OLD, NEW):
            http.delete(gallery).raise_for_status()


def test_a_server_is_asked_for_the_audit_of_one_gallery() -> None:
    done = CliRunner().invoke(app, ["gallery", "audit", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "name it" in done.output
