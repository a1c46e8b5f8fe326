"""`facegraph gallery export, import`."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from graph.cluster.launch import RunningGraph
from graph.commands.gallery_transfer import _pieces, _whole
from tests.support.photos import FEW_PLAYERS, YAOMING, photo_bytes
from tests.support.terminal import facegraph_gallery

GALLERIES = ("moved", "copy", "again")


@pytest.fixture
def moved(http: httpx.Client) -> Iterator[str]:
    """A gallery with two persons, one of whom has a face; the copies of it are deleted too."""
    gallery = f"/v1/galleries/{GALLERIES[0]}"
    http.put(gallery, json={"threshold": 0.43, "policy": "off"}).raise_for_status()
    for person in ({"id": "yao", "name": "Yao", "metadata": {"team": "red"}}, {"id": "none"}):
        http.post(f"{gallery}/persons", json=person).raise_for_status()
    photo = {"images": ("a.jpg", photo_bytes(YAOMING))}
    http.post(f"{gallery}/persons/yao/faces", files=photo).raise_for_status()
    yield GALLERIES[0]
    for name in GALLERIES:
        http.delete(f"/v1/galleries/{name}").raise_for_status()


@pytest.mark.cluster
def test_an_imported_gallery_is_the_exported_one(
    moved: str, http: httpx.Client, running: RunningGraph, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    server = ("--url", running.url, "--json")
    written = {"file": str(first), "persons": 2}
    assert json.loads(facegraph_gallery("export", moved, first, *server)) == written
    assert first.stat().st_mode & 0o777 == 0o600
    done = json.loads(facegraph_gallery("import", "copy", first, *server))
    assert done == {"persons": 2, "faces": 1, "refused": []}
    facegraph_gallery("export", "copy", second, *server)
    header, *persons = first.read_bytes().splitlines()
    copied_header, *copied = second.read_bytes().splitlines()
    assert copied == persons
    assert json.loads(copied_header) == json.loads(header) | {"gallery": "copy"}
    found = http.post("/v1/galleries/copy/search", files={"image": photo_bytes(FEW_PLAYERS)})
    assert found.status_code == 200
    again = json.loads(facegraph_gallery("import", "copy", first, *server))
    assert again == {"persons": 0, "faces": 0, "refused": []}

    bad = tmp_path / "bad.ndjson"
    bad.write_bytes(b"\n".join((header, persons[0], b"{", persons[1])) + b"\n")
    assert json.loads(facegraph_gallery("import", "copy", bad, *server, code=1))["refused"] == [
        {"line": 3, "reason": "not JSON"}
    ]
    other = json.loads(header) | {"version": "0" * 64}
    bad.write_bytes(b"\n".join((json.dumps(other).encode(), *persons)) + b"\n")
    error = json.loads(facegraph_gallery("import", "copy", bad, *server, code=2))["error"]
    assert error["code"] == "wrong_model"
    # The persons alone are of no model.
    done = json.loads(facegraph_gallery("import", "again", bad, "--persons-only", *server))
    assert done == {"persons": 2, "faces": 0, "refused": []}
    person = http.get("/v1/galleries/again/persons/yao").json()
    assert (person["name"], person["metadata"], person["faces"]) == ("Yao", {"team": "red"}, 0)


def test_lines_are_sent_whole_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.commands.gallery_transfer._SENT_AT_A_TIME", 9)
    lines = [b"123\n"] * 4 + [b"a line of more than ten\n", b"last"]
    assert list(_pieces(lines)) == [
        b"123\n" * 3,
        b"123\na line of more than ten\n",
        b"last",
    ]


def test_a_file_that_is_no_export_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    for content in (b"", b'{"person": "yao"}\n', b"\xff\xd8\n"):
        file.write_bytes(content)
        out = facegraph_gallery(
            "import", "staff", file, "--url", "http://127.0.0.1:9", "--json", code=2
        )
        assert "first line" in json.loads(out)["error"]["message"]


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text("before")
    with suppress(ConnectionError), _whole(file) as out:
        out.write(b"half")
        raise ConnectionError
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ndjson"]
