"""Every error of the contract, over real HTTP: status, code, and the field at fault."""

import json
import socket
import struct
import zlib
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.errors import GalleryUnavailable
from graph.http.errors import error_handlers
from tests.conftest import API_KEY
from tests.support.faults import one_replica
from tests.support.photos import GDP, YAOMING, photo, photo_bytes
from tests.support.processes import http_port_of
from tests.support.waiting import TIMEOUT_S

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def image(content: bytes, name: str = "photo.jpg") -> tuple[str, bytes]:
    return name, content


def blank_jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((200, 200, 3), 90, np.uint8))[1])


def giant_png() -> bytes:
    """A PNG of a few bytes whose header declares 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def check_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the answer's status, code and form; return its error."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code), body
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["request_id"] == answer.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("field", ["source", "target"])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "invalid_image"),
        (b"this is no photo at all", 422, "invalid_image"),
        (bytes(cv2.imencode(".png", photo(GDP))[1])[:5000], 422, "invalid_image"),
        (photo_bytes(GDP)[:5000], 422, "face_not_found"),
        (b"GIF89a" + b"\0" * 100, 415, "unsupported_media_type"),
        (blank_jpeg(), 422, "face_not_found"),
        (giant_png(), 413, "image_too_large"),
        (photo_bytes(GDP) + b"\0" * 13_000_000, 413, "image_too_large"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "gif", "no face", "giant header", "long"],
)
def test_an_error_names_the_image_at_fault(
    http: httpx.Client, field: str, content: bytes, status: int, code: str
) -> None:
    other = "target" if field == "source" else "source"
    files = {field: image(content), other: image(photo_bytes(YAOMING))}
    error = check_error(http.post("/v1/compare", files=files), status, code)
    assert error["details"]["field"] == field
    assert error["message"].startswith(f"{field}: ")


def test_no_face_in_a_photo_that_is_cut_off_is_told_as_such(http: httpx.Client) -> None:
    files = {"source": image(photo_bytes(GDP)[:5000]), "target": PHOTO}
    error = check_error(http.post("/v1/compare", files=files), 422, "face_not_found")
    message = "source: no face found in the rows that the file contains: it is cut off"
    assert error["message"] == message


def test_detect_answers_an_image_without_a_face_with_an_empty_list(http: httpx.Client) -> None:
    answer = http.post("/v1/detect", files={"image": image(blank_jpeg())})
    assert answer.status_code == 200
    assert answer.json()["faces"] == []


PHOTO = image(photo_bytes(YAOMING))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"files": {"source": PHOTO}}, "target"),
        ({"files": [("source", PHOTO), ("source", PHOTO), ("target", PHOTO)]}, "source"),
        ({"files": {"source": PHOTO, "target": PHOTO, "extra": PHOTO}}, "extra"),
        ({"data": {"threshold": "high"}}, "threshold"),
        ({"data": {"threshold": "nan"}}, "threshold"),
        ({"data": {"threshold": "1.5"}}, "threshold"),
        ({"data": {"threshold": ["0.2", "0.3"]}}, "threshold"),
        ({"data": {"faces": "some"}}, "faces"),
        ({"data": {"recognizers": ""}}, "recognizers"),
        ({"json": {"source": "!", "target": "aGVsbG8="}}, "source"),
        ({"json": {"source": 3, "target": "aGVsbG8="}}, "source"),
        ({"json": {"source": "aGVsbG8=", "target": "aGVsbG8=", "threshold": True}}, "threshold"),
        ({"json": ["source"]}, "body"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "body"),
        (
            {
                "content": b'{"source": "aGVsbG8=", "source": "aGVsbG8="}',
                "headers": {"content-type": "application/json"},
            },
            "source",
        ),
        (
            {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
            "body",
        ),
    ],
)
def test_an_invalid_request_names_its_field(
    http: httpx.Client, request_: dict[str, Any], field: str
) -> None:
    if "data" in request_:
        request_ = request_ | {"files": {"source": PHOTO, "target": PHOTO}}
    error = check_error(http.post("/v1/compare", **request_), 400, "invalid_request")
    assert error["details"]["field"].startswith(field)
    assert field in error["message"]


def test_an_unknown_recognizer_is_answered_with_those_served(http: httpx.Client) -> None:
    fields = {"recognizers": "arcface,nobody"}
    answer = http.post("/v1/embed", data=fields, files={"image": PHOTO})
    error = check_error(answer, 404, "unknown_recognizer")
    assert error["details"]["served"] == ["arcface", "second"]
    assert "nobody" in error["message"]


@pytest.mark.parametrize("media_type", ["text/plain", "image/gif", ""])
def test_a_body_of_another_type_is_refused(http: httpx.Client, media_type: str) -> None:
    answer = http.post("/v1/detect", content=b"x", headers={"content-type": media_type})
    check_error(answer, 415, "unsupported_media_type")


def test_a_raw_image_is_not_enough_to_compare(http: httpx.Client) -> None:
    headers = {"content-type": "image/jpeg"}
    answer = http.post("/v1/compare", content=photo_bytes(YAOMING), headers=headers)
    check_error(answer, 415, "unsupported_media_type")


def test_an_unknown_route_and_a_wrong_method_are_answered_with_the_way_on(
    http: httpx.Client, strict: httpx.Client
) -> None:
    for client, prefix in ((http, ""), (strict, "/strict")):
        docs = f"{prefix}/docs"
        unknown = check_error(client.get("/v2/compare"), 404, "not_found")
        assert unknown["details"] == {"docs": docs}
        assert f"{docs} lists the routes" in unknown["message"]
        answer = client.get("/v1/compare")
        wrong = check_error(answer, 405, "method_not_allowed")
        assert wrong["message"].startswith(
            f"GET {prefix}/v1/compare: this route takes POST; {docs}"
        )
        assert wrong["details"] == {"allowed": ["POST"], "docs": docs}
        assert answer.headers["allow"] == "POST"
        assert client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer another"},
        {"authorization": f"Basic {API_KEY}"},
        {"authorization": "", "x-api-key": "another"},
    ],
)
def test_a_request_without_a_known_key_is_refused(
    strict: httpx.Client, headers: dict[str, str]
) -> None:
    check_error(strict.get("/v1/models", headers=headers), 401, "unauthorized")
    check_error(strict.post("/v1/detect", headers=headers), 401, "unauthorized")


def test_a_known_key_is_taken_from_either_header(strict: httpx.Client) -> None:
    assert strict.get("/v1/models").status_code == 200
    headers = {"authorization": "", "x-api-key": API_KEY}
    assert strict.get("/v1/models", headers=headers).status_code == 200


def test_probes_need_no_key(strict: httpx.Client) -> None:
    assert strict.get("/healthz", headers={"authorization": ""}).status_code == 200
    assert strict.get("/readyz", headers={"authorization": ""}).status_code == 200


def test_a_body_that_declares_too_many_bytes_is_refused(strict: httpx.Client) -> None:
    answer = strict.post("/v1/detect", files={"image": image(b"\0" * 200_000)})
    error = check_error(answer, 413, "request_too_large")
    assert error["details"]["max_bytes"] == 100_000


def test_a_body_of_undeclared_length_is_refused_once_it_is_too_long(strict: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"\0" * 10_000

    headers = {"content-type": "image/jpeg"}
    answer = strict.post("/v1/detect", content=chunks(), headers=headers)
    check_error(answer, 413, "request_too_large")


def test_an_answer_that_takes_too_long_is_given_up(strict: httpx.Client) -> None:
    answer = strict.post("/v1/detect", files={"image": PHOTO})
    check_error(answer, 504, "deadline_exceeded")


def test_a_gallery_that_is_away_says_after_how_many_seconds_to_ask_again() -> None:
    async def search(_: Request) -> Response:
        raise GalleryUnavailable("the database is away", retry_after_s=1)

    handlers: Any = error_handlers(7)
    away = Starlette(routes=[Route("/search", search)], exception_handlers=handlers)
    answer = TestClient(away).get("/search")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "gallery_unavailable"


def test_a_stalled_body_takes_a_place_until_it_is_given_up(
    strict: httpx.Client,
) -> None:
    url = strict.base_url
    # Straight to the replica: HAProxy would wait for the body, and the replica not see the request.
    port = http_port_of(one_replica("Ingress", "strict").pid)
    with socket.create_connection((url.host, port), timeout=TIMEOUT_S) as slow:
        head = (
            f"POST {url.path}v1/detect HTTP/1.1\r\nhost: {url.host}\r\n"
            f"authorization: Bearer {API_KEY}\r\ncontent-type: image/jpeg\r\n"
            "content-length: 1000\r\nexpect: 100-continue\r\n\r\n"
        )
        slow.sendall(head.encode() + b"\0" * 10)  # no more follows: the request stays in flight
        assert slow.recv(100) == CONTINUE  # the replica has admitted this request, and reads it
        answer = strict.post("/v1/detect", files={"image": PHOTO})
        given_up = HTTPResponse(slow)
        given_up.begin()
        message = json.loads(given_up.read())["error"]["message"]
    check_error(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "7"
    assert given_up.status == 504
    assert message.startswith("body: not here")
