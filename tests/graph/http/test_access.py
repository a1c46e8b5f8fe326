"""Keys, anonymous clients, rate limits and concurrency limits, without a server."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import Request

from configs.access import ANONYMOUS_DEFAULTS, AccessConfig, KeyScope
from deployments.errors import Forbidden, InvalidConfig, Overloaded, Unauthorized
from graph.gallery_schemas import MoveOptions
from graph.http.access import Access, TokenBucket, require_scope
from graph.http.gallery_handlers import move_person
from graph.http.handlers import Graph
from graph.http.middleware import RequestRecord
from tests.support.waiting import wait_until

KEY = "schlüssel-鍵-à".encode()  # its last byte would be white space in Latin-1
KEYS = {"phone": sha256(KEY).hexdigest()}


def access(host: str | None = "127.0.0.1", **config: Any) -> Access:
    return Access(AccessConfig.model_validate(config), host)


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": list(headers)})


def with_key(key: bytes = KEY) -> Request:
    return request((b"authorization", b"Bearer " + key))


def client_of(access: Access, request: Request) -> str | None:
    with access.admitted(request):
        return RequestRecord.of(request.scope).client


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer " + KEY),
        (b"authorization", b"bearer  " + KEY + b" "),
        (b"x-api-key", KEY),
    ],
)
def test_a_key_of_any_characters_is_taken_from_either_header(header: tuple[bytes, bytes]) -> None:
    assert client_of(access(keys=KEYS), request(header)) == "phone"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer " + KEY[:-1])],
        [(b"authorization", b"Basic " + KEY)],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"\xff\xfe")],
        [(b"x-api-key", KEYS["phone"].encode())],
    ],
)
def test_a_request_without_a_known_key_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized):
        client_of(access(keys=KEYS), request(*headers))


@pytest.mark.parametrize("anonymous", [None, True])
def test_an_expired_key_is_refused_by_name_and_time_and_its_request_keeps_the_name(
    anonymous: bool | None,
) -> None:
    key = {"sha256": KEYS["phone"], "expires": "2026-01-31"}
    closed, asked = access(keys={"phone": key}, anonymous=anonymous), with_key()
    with pytest.raises(Unauthorized, match="'phone' expired on 2026-01-31T00:00:00Z") as caught:
        client_of(closed, asked)
    assert caught.value.details == {"key": "phone", "expired": "2026-01-31T00:00:00Z"}
    assert RequestRecord.of(asked.scope).client == "phone"
    with pytest.raises(Unauthorized) as unknown:
        client_of(closed, with_key(b"another"))
    assert "expired" not in unknown.value.message


def test_an_expired_key_does_not_open_the_graph() -> None:
    key = {"sha256": KEYS["phone"], "expires": "2026-01-31"}
    with pytest.raises(Unauthorized, match="an API key is required"):
        client_of(access(keys={"phone": key}), request())


def test_a_key_is_refused_from_its_end_on() -> None:
    end = datetime.now(timezone.utc) + timedelta(seconds=1)
    expiring = access(keys={"phone": {"sha256": KEYS["phone"], "expires": end.isoformat()}})
    assert client_of(expiring, with_key()) == "phone"

    def is_refused() -> bool:
        try:
            client_of(expiring, with_key())
        except Unauthorized:
            return True
        return False

    wait_until(is_refused)
    assert datetime.now(timezone.utc) >= end


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", None])
def test_without_keys_clients_of_this_machine_may_be_anonymous(host: str | None) -> None:
    assert client_of(access(host), request()) == "anonymous"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "graph.example", "127.0.0.1.example"]
)
def test_without_keys_others_may_be_anonymous_only_if_the_configuration_says_so(host: str) -> None:
    for decision in ({}, {"anonymous": False}):
        with pytest.raises(InvalidConfig, match="no API key"):
            access(host, **decision)
    assert client_of(access(host, anonymous=True), request()) == "anonymous"
    assert client_of(access(host, keys=KEYS), with_key()) == "phone"


def test_keys_can_be_required_of_this_machine_too() -> None:
    with pytest.raises(InvalidConfig):
        access(anonymous=False)
    with pytest.raises(Unauthorized):
        client_of(access(anonymous=False, keys=KEYS), request())


def test_anonymous_clients_and_keys_can_both_be_served_but_a_wrong_key_is_not_anonymous() -> None:
    both = access("0.0.0.0", anonymous=True, keys=KEYS)
    assert client_of(both, request()) == "anonymous"
    assert client_of(both, with_key()) == "phone"
    with pytest.raises(Unauthorized):
        client_of(both, with_key(b"another"))


def test_anonymous_clients_have_limits_where_other_machines_reach_the_graph() -> None:
    local, open_to_all = access(), access("0.0.0.0", anonymous=True)
    for _ in range(ANONYMOUS_DEFAULTS.burst):
        client_of(local, request())
        client_of(open_to_all, request())
    client_of(local, request())
    with pytest.raises(Overloaded):
        client_of(open_to_all, request())


def test_a_key_over_its_rate_gets_the_limit_and_the_seconds_to_wait() -> None:
    limited = access(keys=KEYS, key_limits={"requests_per_s": 0.1, "burst": 3})
    for _ in range(3):
        client_of(limited, with_key())
    with pytest.raises(Overloaded, match=r"phone: 0\.1 requests a second") as caught:
        client_of(limited, with_key())
    details = caught.value.details
    assert 8 <= details.pop("retry_after_s") <= 10
    assert details == {"client": "phone", "limit": "requests_per_s", "requests_per_s": 0.1}


def test_a_key_at_its_concurrency_limit_does_not_keep_others_out() -> None:
    two = access(keys=KEYS, anonymous=True, key_limits={"max_concurrent": 2})
    with two.admitted(with_key()), two.admitted(with_key()):
        with pytest.raises(Overloaded, match="phone: 2 requests at a time") as caught:
            client_of(two, with_key())
        assert caught.value.details["limit"] == "max_concurrent"
        client_of(two, request())
    client_of(two, with_key())


def test_changed_limits_count_the_requests_in_flight(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"

    def limit(text: str) -> None:
        new = tmp_path / "new.yaml"
        new.write_text(f"phone: {{sha256: {KEYS['phone']}, limits: {text}}}")
        new.replace(file)  # a file that is half written has no key

    limit("{max_concurrent: 3}")
    changing = access(keys_file=file, keys_reload_s=0.02)

    def refusal() -> str:
        try:
            client_of(changing, with_key())
        except Overloaded as error:
            return error.message
        return ""

    with changing.admitted(with_key()), changing.admitted(with_key()):
        assert not refusal()
        limit("{max_concurrent: 2, burst: 7}")
        wait_until(lambda: "phone: 2 requests at a time" in refusal())
    assert not refusal()
    limit("{max_concurrent: 1}")
    with changing.admitted(with_key()):
        wait_until(lambda: "phone: 1 requests at a time" in refusal())
    assert not refusal()


def test_a_token_bucket_keeps_its_tokens_when_its_rate_and_size_change() -> None:
    now = 0.0
    bucket = TokenBucket(2.0, 3, clock=lambda: now)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    now = 0.5
    bucket.change(4.0, 10)
    assert [bucket.take(), bucket.take()] == [0, 0.25]
    now = 100.0
    bucket.change(1.0, 1)
    assert [bucket.take(), bucket.take()] == [0, 1.0]


def test_a_token_bucket_fills_with_time_up_to_its_size() -> None:
    now = 0.0
    bucket = TokenBucket(2.0, 3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now = 0.25
    assert bucket.take() == 0.25
    now = 0.5
    assert [bucket.take(), bucket.take()] == [0, 0.5]
    now = 1000.0
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def refusal(access: Access, sent: Request, scopes: Sequence[KeyScope], gallery: str | None) -> str:
    """The error's message, or "" if the request may go on."""
    with access.admitted(sent) as client:
        try:
            require_scope(client, scopes, gallery)
        except Forbidden as error:
            return error.message
    return ""


@pytest.mark.parametrize(
    ("rights", "scopes", "words"),
    [
        ({}, ["verify"], "this route needs the scope verify; the API key 'phone' has none"),
        ({"scopes": ["search"]}, ["search"], ""),
        ({"scopes": ["search"]}, ["verify", "search"], ""),
        ({"scopes": ["search", "verify"]}, ["enrol"], "'phone' has search, verify"),
        ({"scopes": ["enrol"]}, ["admin"], "'phone' has enrol"),
        ({"scopes": ["admin"]}, ["verify"], ""),
        ({"scopes": ["search"], "galleries": ["staff"]}, ["search"], ""),
        (
            {"scopes": ["search"], "galleries": ["guests"]},
            ["search"],
            "not for the gallery 'staff'",
        ),
        ({"scopes": ["admin"], "galleries": []}, ["admin"], "not for the gallery 'staff'"),
    ],
)
def test_a_key_reaches_a_gallery_by_its_scopes_and_galleries(
    rights: dict[str, Any], scopes: Sequence[KeyScope], words: str
) -> None:
    closed = access(keys={"phone": {"sha256": KEYS["phone"], **rights}})
    told = refusal(closed, with_key(), scopes, "staff")
    assert (words in told, bool(told)) == (True, bool(words))


def test_a_bound_key_may_ask_for_the_list_of_galleries() -> None:
    rights = {"sha256": KEYS["phone"], "scopes": ["search"], "galleries": ["guests"]}
    assert refusal(access(keys={"phone": rights}), with_key(), ["search"], None) == ""


def test_a_bound_key_moves_a_person_only_to_a_gallery_that_it_reaches() -> None:
    rights = {"sha256": KEYS["phone"], "scopes": ["enrol"], "galleries": ["staff"]}
    move = MoveOptions(gallery="staff", person="p-1", to="archive")
    with access(keys={"phone": rights}).admitted(with_key()) as client:
        require_scope(client, ["enrol"], move.gallery)
        with pytest.raises(Forbidden, match="not for the gallery 'archive'"):
            asyncio.run(move_person(cast(Graph, None), move, client))


@pytest.mark.parametrize(
    ("host", "config", "headers", "is_open"),
    [
        ("127.0.0.1", {}, {}, True),
        ("127.0.0.1", {}, {"host": "localhost:8000"}, True),
        ("::1", {}, {"host": "[::1]:8000"}, True),
        ("127.0.0.1", {}, {"sec-fetch-site": "same-origin"}, True),
        ("127.0.0.1", {}, {"sec-fetch-site": "cross-site"}, False),
        ("127.0.0.1", {}, {"sec-fetch-site": "same-site"}, False),
        ("127.0.0.1", {}, {"host": "faces.example.org"}, False),
        ("127.0.0.1", {"keys": KEYS, "anonymous": True}, {}, False),
        ("0.0.0.0", {"anonymous": True}, {}, False),
    ],
)
def test_galleries_are_open_to_anonymous_clients_of_this_machine_only_and_without_keys(
    host: str, config: dict[str, Any], headers: dict[str, str], is_open: bool
) -> None:
    given = {"host": "127.0.0.1:8000", **headers}
    sent = request(*((name.encode(), value.encode()) for name, value in given.items()))
    told = refusal(access(host, **config), sent, ["admin"], "staff")
    assert (told == "") == is_open
    assert is_open or "galleries need an API key" in told
