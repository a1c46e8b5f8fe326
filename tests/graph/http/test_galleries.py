"""Galleries over HTTP: the documented requests, and the way of a photo to a person."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import WrongModel
from graph import FaceGraph
from graph.cluster.launch import RunningGraph
from graph.http.examples import answer_example
from graph.http.keys import digest_of, new_key
from tests.graph.http.test_contract import check_answer, check_like, described
from tests.support import gallery_examples
from tests.support.photos import FEW_PLAYERS, GDP, YAOMING, photo_bytes
from tests.support.record_examples import rounded
from tests.support.waiting import answered

GALLERY = "/v1/galleries/tests"
YAO = f"{GALLERY}/persons/yao"


def file(name: str) -> tuple[str, bytes]:
    return "photo.jpg", photo_bytes(name)


@pytest.fixture
def gallery(http: httpx.Client) -> Iterator[None]:
    """A gallery with one person, who has no face yet."""
    http.put(GALLERY, json={"policy": "standard"}).raise_for_status()
    person = {"id": "yao", "name": "Yao Ming", "metadata": {"team": "red"}}
    http.post(f"{GALLERY}/persons", json=person).raise_for_status()
    yield
    assert http.delete(GALLERY).json() == {"deleted": True, "purged": True}


def test_documented_requests_have_the_documented_answers(http: httpx.Client) -> None:
    for route, answer in gallery_examples.answers(http):
        assert answer.status_code == 200, (route.name, answer.text)
        body = check_answer(answer, described(route))
        if route.gives:
            example = answer_example(route.name)
            mine = without_others(route.name, body, example)
            check_like(without_times(rounded(mine)), without_times(example))


def without_others(route: str, body: Any, example: Any) -> Any:
    """The answer without what tests before have left: galleries, and a trail of the same gallery,
    which outlives it."""
    if route == "list_galleries":
        ids = {gallery["id"] for gallery in example["galleries"]}
        return {"galleries": [one for one in body["galleries"] if one["id"] in ids]}
    if route == "audit":
        newest = body["entries"][: len(example["entries"])]
        return {"entries": newest, "next_cursor": example["next_cursor"]}
    return body


def without_times(part: Any) -> Any:
    """The JSON without the times at which something was stored."""
    if isinstance(part, dict):
        return {
            name: without_times(value)
            for name, value in part.items()
            if name not in ("at", "created_at", "updated_at")
        }
    return [without_times(value) for value in part] if isinstance(part, list) else part


def test_an_enrolled_man_is_found_among_players_and_not_after_his_deletion(
    http: httpx.Client, gallery: None
) -> None:
    done = http.post(f"{YAO}/faces", files={"images": file(YAOMING)}).json()
    assert [photo["outcome"] for photo in done["photos"]] == ["enrolled"]
    again = http.post(f"{YAO}/faces", files={"images": file(YAOMING)}).json()
    assert [photo["outcome"] for photo in again["photos"]] == ["exists"]
    assert again["photos"][0]["face"] == done["photos"][0]["face"]
    assert again["faces"] == 1

    asked: dict[str, Any] = {"files": {"image": file(FEW_PLAYERS)}, "data": {"faces": "all"}}
    found = http.post(f"{GALLERY}/search", **asked).json()
    detected = http.post("/v1/detect", files=asked["files"]).json()
    assert len(found["faces"]) == len(detected["faces"]) > 10
    (match,) = [face for face in found["faces"] if face["decision"] == "match"]
    (candidate,) = match["candidates"]
    assert candidate["person"] == "yao"
    assert candidate["similarity"] == pytest.approx(0.632, abs=0.02)
    assert match["face"]["box"] == pytest.approx([270.2, 34.1, 312.9, 86.2], abs=1)

    verified = http.post(f"{YAO}/verify", files={"image": file(YAOMING)}).json()
    assert verified["matched"]
    assert verified["similarity"] == pytest.approx(1.0, abs=1e-3)

    assert http.delete(YAO).json() == {"deleted": True, "purged": True}
    assert http.delete(YAO).json()["deleted"] is False
    found = http.post(f"{GALLERY}/search", **asked).json()
    assert {face["decision"] for face in found["faces"]} <= {"no_match", "uncertain"}
    assert not any(face["candidates"] for face in found["faces"])


def test_each_photo_has_its_own_outcome(http: httpx.Client, gallery: None) -> None:
    files = [("images", file(YAOMING)), ("images", ("a", b"no photo")), ("images", file(GDP))]
    done = http.post(f"{YAO}/faces", files=files).json()
    outcomes = [photo["outcome"] for photo in done["photos"]]
    assert outcomes[:2] == ["enrolled", "refused"]
    (problem,) = done["photos"][1]["problems"]
    assert problem["reason"] == "invalid_image"
    assert "images.1" in problem["message"]
    # Six leaders side by side: the largest face is one of several about as large.
    assert outcomes[2] == "refused"
    assert "several_faces" in [one["reason"] for one in done["photos"][2]["problems"]]
    assert done["faces"] == 1


def test_a_change_of_settings_leaves_the_others_as_they_are(
    http: httpx.Client, gallery: None
) -> None:
    before = http.put(GALLERY, json={"policy": "strict", "threshold": 0.47}).json()
    after = http.put(GALLERY, json={"min_margin": 0.1}).json()
    assert after == before | {"min_margin": 0.1}
    assert http.put(GALLERY).json() == after


def test_a_filter_selects_the_persons_of_a_search_and_of_a_list(
    http: httpx.Client, gallery: None
) -> None:
    http.post(f"{YAO}/faces", files={"images": file(YAOMING)}).raise_for_status()
    for team, count in (("red", 1), ("blue", 0)):
        chosen = json.dumps({"team": team})
        listed = http.get(f"{GALLERY}/persons", params={"filter": chosen}).json()
        assert len(listed["persons"]) == count
        photo, data = {"image": file(YAOMING)}, {"filter": chosen}
        found = http.post(f"{GALLERY}/search", files=photo, data=data).json()
        assert len(found["faces"][0]["candidates"]) == count


def test_persons_are_listed_page_by_page(http: httpx.Client, gallery: None) -> None:
    for index in range(6):
        http.post(f"{GALLERY}/persons", json={"id": f"p-{index}"}).raise_for_status()
    seen, cursor = list[str](), None
    while True:
        asked: dict[str, Any] = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = http.get(f"{GALLERY}/persons", params=asked).json()
        seen += [person["id"] for person in page["persons"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["persons"]) == 3
    assert seen == [*(f"p-{index}" for index in range(6)), "yao"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/galleries/none", "unknown_gallery"),
        ("GET", f"{GALLERY}/persons/none", "unknown_person"),
        ("GET", f"{GALLERY}/persons/none/faces", "unknown_person"),
        ("GET", f"{GALLERY}/persons/a%20b", "invalid_request"),
        ("GET", "/v1/galleries/none/export", "unknown_gallery"),
        ("POST", f"{GALLERY}/search", "unsupported_media_type"),
    ],
)
def test_an_id_that_is_not_there_is_an_error_with_its_code(
    http: httpx.Client, gallery: None, method: str, path: str, code: str
) -> None:
    assert http.request(method, path).json()["error"]["code"] == code


@pytest.mark.parametrize("photo", [file(YAOMING), ("a", b"no photo")], ids=["face", "no photo"])
def test_nobody_is_enrolled_for_a_person_who_is_not_there(
    http: httpx.Client, gallery: None, photo: tuple[str, bytes]
) -> None:
    answer = http.post(f"{GALLERY}/persons/none/faces", files={"images": photo})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_person"


def test_a_graph_without_galleries_says_how_to_switch_them_on(
    strict: httpx.Client, keys_file: Path
) -> None:
    answer = strict.get("/v1/galleries")
    assert answer.status_code == 403  # the key of this graph has no scopes
    assert "none" in answer.json()["error"]["message"]
    before, key = keys_file.read_text(), new_key()
    keys_file.write_text(f"{before}hr: {{sha256: {digest_of(key.encode())}, scopes: [admin]}}\n")
    try:
        answer = answered(strict, "/v1/galleries", 404, {"authorization": f"Bearer {key}"})
    finally:
        keys_file.write_text(before)
    error = answer.json()["error"]
    assert error["code"] == "galleries_disabled"
    assert "gallery: {enabled: true}" in error["message"]


def test_both_clients_answer_the_same(
    client: FaceGraph, running: RunningGraph, gallery: None
) -> None:
    with FaceGraph.over_http(running.url) as remote:
        for graph in (client, remote):
            galleries = graph.galleries
            galleries.add_person("tests", "second", name="B", metadata={"floor": 3})
            done = galleries.enrol("tests", "yao", [photo_bytes(YAOMING)])
            assert done.photos[0].outcome in ("enrolled", "exists")
        one, other = (
            graph.galleries.search("tests", photo_bytes(FEW_PLAYERS), faces="all", top_k=1)
            for graph in (client, remote)
        )
        assert one.model_dump(exclude={"timings"}) == other.model_dump(exclude={"timings"})
        embedded = client.embed(photo_bytes(YAOMING)).faces[0].embeddings["arcface"]
        for graph in (client, remote):
            found = graph.galleries.search(
                "tests", embedding=embedded.embedding, version=embedded.version
            )
            assert found.faces[0].candidates[0].person == "yao"
            with pytest.raises(WrongModel, match="of 512 numbers, not of 511"):
                graph.galleries.search(
                    "tests", embedding=embedded.embedding[:-1], version=embedded.version
                )
            changed = graph.galleries.change_person("tests", "second", name=None)
            assert (changed.name, changed.metadata) == (None, {"floor": 3})
            assert graph.galleries.verify("tests", "yao", photo_bytes(YAOMING)).matched
        (face,) = client.galleries.faces("tests", "yao").faces
        assert remote.galleries.move_face("tests", "yao", face.id, "second") == face
        assert client.galleries.move_face("tests", "second", face.id, "yao") == face
        assert remote.galleries.merge("tests", "yao", "second").faces == 1
        newest = client.galleries.audit("tests", limit=1)
        assert [one.action for one in newest.entries] == ["merge_persons"]
        before = remote.galleries.audit("tests", limit=2, cursor=newest.next_cursor).entries
        assert [(one.key, one.action) for one in before] == [
            ("by handle", "move_face"),
            ("anonymous", "move_face"),
        ]
        assert [person.id for person in client.galleries.persons("tests").persons] == ["yao"]
