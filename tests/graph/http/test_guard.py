"""Protection of the running graph: keys added and removed, limits, headers, and the request log."""

import json
import time
from base64 import b64decode
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from graph.cluster.launch import RunningGraph
from graph.gallery_schemas import NDJSON
from graph.http.keys import digest_of, new_key
from graph.http.middleware import SECURITY_HEADERS
from tests.conftest import API_KEY
from tests.graph.http.test_errors import check_error
from tests.graph.http.test_http import as_json, as_multipart
from tests.support.photos import YAOMING, photo_bytes
from tests.support.ray_private import logs_folder
from tests.support.terminal import facegraph
from tests.support.waiting import TIMEOUT_S, answered


def until(client: httpx.Client, status: int, headers: dict[str, str]) -> httpx.Response:
    """Ask /v1/models until the status is this one: replicas reload the file at different times."""
    return answered(client, "/v1/models", status, headers)


def test_a_key_works_once_it_is_in_the_file_and_no_longer_once_it_is_out(
    strict: httpx.Client, keys_file: Path
) -> None:
    before = keys_file.read_text()
    key = facegraph("keys", "new", "guest", "--file", keys_file).out.strip()
    headers = {"authorization": f"Bearer {key}"}
    until(strict, 200, headers)
    keys_file.write_text(before)
    until(strict, 401, headers)


def test_a_key_ends_at_its_time_and_the_log_names_it(strict: httpx.Client, keys_file: Path) -> None:
    before, key = keys_file.read_text(), new_key()
    digest, headers = digest_of(key.encode()), {"authorization": f"Bearer {key}"}
    keys_file.write_text(f"{before}visitor: {digest}\n")
    until(strict, 200, headers)
    end = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=3)
    when = f"{end:%Y-%m-%dT%H:%M:%SZ}"
    keys_file.write_text(f"{before}visitor: {{sha256: {digest}, expires: {when}}}\n")
    until(strict, 401, headers)
    assert datetime.now(timezone.utc) >= end
    answer = strict.get("/v1/models", headers=headers | {"x-request-id": "expired-1"})
    keys_file.write_text(before)
    error = check_error(answer, 401, "unauthorized")
    assert f"'visitor' expired on {when}" in error["message"]
    assert error["details"] == {"key": "visitor", "expired": when}
    line = _log_lines(logs_folder() / "serve", {"expired-1"})["expired-1"]
    assert (line["client"], line["status"], line["error"]) == ("visitor", 401, "unauthorized")
    assert _found(logs_folder(), [key.encode()]) == []


def test_a_key_over_its_limit_is_answered_503_with_the_limits_name(
    strict: httpx.Client, keys_file: Path
) -> None:
    before, key = keys_file.read_text(), "clé de l'été à"
    digest = sha256(key.encode()).hexdigest()
    limits = "{requests_per_s: 0.02, burst: 2}"
    keys_file.write_text(f"{before}slow: {{sha256: {digest}, limits: {limits}}}\n")
    headers: Any = {"authorization": f"Bearer {key}".encode()}
    until(strict, 200, headers)
    answer = until(strict, 503, headers)
    keys_file.write_text(before)
    error = check_error(answer, 503, "overloaded")
    assert error["details"]["client"] == "slow"
    assert error["details"]["limit"] == "requests_per_s"
    assert 2 <= int(answer.headers["retry-after"]) <= 50
    assert strict.get("/v1/models").status_code == 200  # other keys are not limited


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/nowhere", "/v1/detect"])
def test_every_answer_carries_the_security_headers(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers
    assert {name: headers.get_list(name) for name in SECURITY_HEADERS} == {
        name: [value] for name, value in SECURITY_HEADERS.items()
    }


def test_only_allowed_origins_may_read_answers(http: httpx.Client, strict: httpx.Client) -> None:
    allowed, other = {"origin": "https://app.example"}, {"origin": "https://evil.example"}
    name = "access-control-allow-origin"
    assert name not in http.get("/healthz", headers=allowed).headers
    assert name not in strict.get("/healthz", headers=other).headers
    assert strict.get("/healthz", headers=allowed).headers[name] == "https://app.example"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    answer = strict.options("/v1/detect", headers={"authorization": "", **allowed, **asked})
    assert answer.status_code == 200
    assert answer.headers[name] == "https://app.example"


@pytest.mark.parametrize("seconds", ["0.001", "0", "-1", "60"])
def test_a_client_sets_no_deadline_of_its_own(
    http: httpx.Client, strict: httpx.Client, seconds: str
) -> None:
    headers = {"x-request-timeout-seconds": seconds}
    assert (
        http.post("/v1/detect", headers=headers, **as_multipart(image=YAOMING)).status_code == 200
    )
    late = strict.post("/v1/detect", headers=headers, **as_multipart(image=YAOMING))
    check_error(late, 504, "deadline_exceeded")


@pytest.mark.parametrize(
    "name", ["x-request-id", "x-session-id", "traceparent", "serve_multiplexed_model_id", "x-y"]
)
def test_headers_of_any_bytes_make_no_failure(http: httpx.Client, name: str) -> None:
    answer = http.get("/healthz", headers={name.encode(): b"\xff\xfe"})
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) > 20


def test_a_request_id_is_taken_over_only_if_it_is_fit_to_be_logged(http: httpx.Client) -> None:
    for fit, sent in [(True, "a-1:b.c/d+e=f"), (False, "a b"), (False, "{}"), (False, "a" * 129)]:
        given = http.get("/healthz", headers={"x-request-id": sent}).headers["x-request-id"]
        assert (given == sent) is fit


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.jpg", "https://x.org/a.jpg", "file:///a.jpg"])
def test_no_url_is_fetched(http: httpx.Client, url: str) -> None:
    error = check_error(http.post("/v1/detect", json={"image": url}), 400, "invalid_request")
    assert error["details"]["field"] == "image"


def _log_lines(folder: Path, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Return the log lines by request id; waits, as they are written after the answers are sent."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        texts = [file.read_text() for file in folder.glob("replica_*Ingress*.log")]
        # Applications of other tests may log text instead of JSON.
        lines = [
            json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")
        ]
        found = {line["request_id"]: line for line in lines if line.get("request_id") in ids}
        if len(found) == len(ids) or time.monotonic() > deadline:
            return found


def test_the_log_has_a_line_for_each_request_and_nothing_that_is_secret(
    running: RunningGraph, http: httpx.Client, strict: httpx.Client
) -> None:
    body = http.post(
        "/v1/embed", headers={"x-request-id": "log-1"}, **as_json(image=YAOMING)
    ).json()
    http.post("/v1/embed", **as_multipart(image=YAOMING))
    strict.get("/v1/models", headers={"x-request-id": "log-2"})
    strict.get("/v1/models", headers={"x-request-id": "log-3", "authorization": "Bearer wrong-k"})
    strict.get("/x", headers={"x-request-id": "log-4"}, params={"key": API_KEY})
    strict.get(f"/examples/{API_KEY}", headers={"x-request-id": "log-5"})
    strict.post(f"/examples/{API_KEY}", headers={"x-request-id": "log-6"})
    logs = logs_folder()
    ids = ["log-1", "log-2", "log-3", "log-4", "log-5", "log-6"]
    lines = _log_lines(logs / "serve", set(ids))
    ours, keyed, refused, unknown, example, posted = (lines[name] for name in ids)
    assert (ours["method"], ours["path"], ours["status"]) == ("POST", "/v1/embed", 200)
    assert (ours["client"], ours["application"]) == ("anonymous", running.app_name)
    assert set(ours["stages_ms"]) == {"decode", "detect", "align", "recognize:arcface"}
    assert ours["duration_ms"] >= ours["stages_ms"]["detect"] > 0
    assert (keyed["client"], keyed["status"]) == ("tests", 200)
    assert (refused["client"], refused["error"]) == (None, "unauthorized")
    assert (unknown["path"], unknown["error"]) == ("unknown", "not_found")
    assert (example["path"], example["error"]) == ("/examples/{name}", "not_found")
    assert (posted["path"], posted["error"]) == ("/examples/{name}", "method_not_allowed")
    picture = as_json(image=YAOMING)["json"]["image"]
    vector = body["faces"][0]["embeddings"]["arcface"]["embedding"]
    secrets = [API_KEY, "wrong-k", picture[1000:1040], str(vector[0])]
    secrets += [repr(float(np.float32(vector[1])))[:8]]
    assert _found(logs, [secret.encode() for secret in secrets]) == []
    assert _found(logs, [photo_bytes(YAOMING)[2000:2032]]) == []
    assert _found(logs, [b"log-2"])  # a control: the search finds text that is there


def test_nothing_of_a_gallery_gets_into_a_log(http: httpx.Client, keys_file: Path) -> None:
    gallery, person = "/v1/galleries/logged", "/v1/galleries/logged/persons/person-8471"
    facts = {"name": "Nomen-5520", "metadata": {"badge": "badge-9163"}}
    photo = {"images": ("a.jpg", photo_bytes(YAOMING))}
    http.put(gallery).raise_for_status()
    http.post(f"{gallery}/persons", json={"id": "person-8471", **facts}).raise_for_status()
    face = http.post(f"{person}/faces", files=photo).raise_for_status().json()["photos"][0]["face"]
    lines = http.get(f"{gallery}/export").raise_for_status().content
    embedding = json.loads(lines.splitlines()[1])["faces"][0]["embedding"]
    numbers = np.frombuffer(b64decode(embedding), "<f4").tolist()
    others, ndjson = lines.replace(b"person-", b"refused-"), {"content-type": NDJSON}
    for answer, status in (
        (http.post(f"{gallery}/search", json={"embedding": numbers}), 200),
        (http.post(f"{gallery}/search", json={"embedding": numbers[1:]}), 409),
        (http.post(f"{person}/verify", files={"image": photo["images"]}), 200),
        (http.post(f"{gallery}/persons", json={"id": "person-8471", "name": "Nomen-6631"}), 409),
        (http.post(f"{gallery}/persons", json={"id": "x", "name": "Nomen-7742\0"}), 400),
        (http.post(f"{gallery}/import", content=others, headers=ndjson), 200),
        (http.patch(person, json={"metadata": {"badge": "badge-1274"}}), 200),
        (http.delete(person, headers={"x-request-id": "gallery-log"}), 200),
        (http.delete(gallery), 200),
    ):
        assert answer.status_code == status, answer.text
    assert _log_lines(logs_folder() / "serve", {"gallery-log"})
    secrets = ["person-8471", "refused-8471", "Nomen-", "badge-", face["source"], embedding[:24]]
    secrets += [repr(numbers[0])[:9], repr(numbers[100])[:9]]
    database = keys_file.parent / "galleries" / "postgres.log"
    for folder in (logs_folder(), database):
        assert _found(folder, [secret.encode() for secret in secrets]) == []
    assert b"ready to accept connections" in database.read_bytes()  # it is the log


def _found(place: Path, secrets: list[bytes]) -> list[tuple[str, bytes]]:
    """Return each log file of the folder, or the file, that holds one of the secrets, with that
    secret."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    contents = [(file.name, file.read_bytes()) for file in files]
    return [(name, secret) for name, content in contents for secret in secrets if secret in content]
