"""The filters keep from Serve the headers and bodies that must not reach it, and no others."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from graph import edge, proxy
from graph.http.routes import ROUTES


def passed(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["headers"])

    async def nothing(*_: Any) -> Any:
        return None

    scope = {"type": "http", "method": "GET", "headers": list(headers)}
    asyncio.run(filtered(app)(scope, nothing, nothing))
    (result,) = seen
    return list(result)


def filtered(app: Any) -> Any:
    """The app behind the filters, wrapped as Serve wraps it."""
    for middleware in proxy.middlewares():
        wrapping: Any = middleware.cls
        app = wrapping(app, *middleware.args, **middleware.kwargs)
    return app


def received(method: str, pieces: list[bytes]) -> list[Message]:
    """The messages that reach Serve, which reads until the client has left."""
    waiting: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    waiting[-1]["more_body"] = False
    waiting.append({"type": "http.disconnect"})
    seen: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())

    async def send(_: Message) -> None:
        raise AssertionError("there is no answer")

    asyncio.run(filtered(app)({"type": "http", "method": method, "headers": []}, receive, send))
    return seen


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-timeout-seconds", b"9999"),
        (b"x-request-disconnect-disabled", b"?1"),
        (b"x-session-id", b"a"),
        (b"serve_multiplexed_model_id", b"a"),
        (b"serve-multiplexed-model-id", b"a"),
        (b"x-request-id", b"two words"),
        (b"x-request-id", b""),
        (b"traceparent", b"\xff"),
        (b"x-\xff", b"a"),
    ],
)
def test_a_header_that_overrules_or_breaks_serve_is_removed(
    header: tuple[bytes, bytes],
) -> None:
    assert passed((b"host", b"a"), header, (b"accept", b"*/*")) == passed(
        (b"host", b"a"), (b"accept", b"*/*")
    )


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-id", b"0b7a-4.5:x"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"authorization", b"Bearer cl\xc3\xa9"),
        (b"x-api-key", b"\xff\xfe"),
    ],
)
def test_other_headers_pass_unchanged(header: tuple[bytes, bytes]) -> None:
    assert passed(header) == [header]


def test_the_former_name_in_deployed_serve_files_still_works() -> None:
    assert edge.middlewares is proxy.middlewares


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_a_body_that_no_route_takes_does_not_reach_serve(method: str) -> None:
    assert received(method, [b"x" * 65536] * 100) == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_the_body_of_a_post_reaches_serve_piece_by_piece() -> None:
    *pieces, end = received("POST", [b"a", b"b", b""])
    assert [(piece["body"], piece["more_body"]) for piece in pieces] == [
        (b"a", True),
        (b"b", True),
        (b"", False),
    ]
    assert end == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "method", sorted({route.method for route in ROUTES if route.takes} - {"GET", "DELETE"})
)
def test_the_body_of_every_route_with_one_reaches_serve(method: str) -> None:
    first, *_ = received(method, [b"a", b""])
    assert first["body"] == b"a"
