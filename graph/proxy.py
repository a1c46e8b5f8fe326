"""Filters in front of Ray Serve: of headers by which clients overrule the server, and of bodies
that no route takes.

Serve calls `middlewares` in every process that takes HTTP requests: each profile names it in
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. Its controller calls `supervise_haproxy`, which
RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names.
"""

import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.replica.logs import guard_log
from graph.serve_private import CLIENT_OVERRIDE_HEADERS, REQUEST_ID_HEADER

_OVERRIDES = {name.encode().replace(b"_", b"-") for name in CLIENT_OVERRIDE_HEADERS}
_TRACE = (b"traceparent", b"tracestate")
_REQUEST_ID = REQUEST_ID_HEADER.encode()
_WITH_BODY = ("POST", "PUT", "PATCH")
# Request ids that are safe in a log and in a header. Serve makes an id for a request without one.
_SAFE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


class HeaderFilter:
    """ASGI middleware that removes the headers by which clients overrule the server.

    It also removes request ids that are not safe, and headers whose name, or trace whose value, is
    not ASCII: Serve decodes both as UTF-8 and fails if it cannot.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            headers = [header for header in scope["headers"] if _passes(*header)]
            scope = {**scope, "headers": headers}
        await self._app(scope, receive, send)


class BodyFilter:
    """ASGI middleware that drops the bodies of requests whose method has none: no route takes one.

    Serve reads every body as fast as it comes, into a queue without a limit, and keeps it until the
    request is answered. Without this filter, bodies on `/readyz` fill the memory while a stage
    hangs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        takes_body = scope["type"] != "http" or scope["method"] in _WITH_BODY
        await self._app(scope, receive if takes_body else _without_body(receive), send)


def _without_body(receive: Receive) -> Receive:
    """A `receive` that gives an empty body, then waits for the client to leave."""
    given = False

    async def receive_empty() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receive_empty


def _passes(name: bytes, value: bytes) -> bool:
    if name == _REQUEST_ID:
        return _SAFE_ID.fullmatch(value) is not None
    if name in _TRACE:
        return value.isascii()
    return name.isascii() and name.replace(b"_", b"-") not in _OVERRIDES


def middlewares() -> list[Middleware]:
    guard_log()
    return [Middleware(HeaderFilter), Middleware(BodyFilter)]


def supervise_haproxy() -> None:
    """Let Serve run a guarded and supervised HAProxy (graph/serve_haproxy.py) on every node."""
    guard_log()
    from graph import serve_haproxy  # takes memory; only the controller needs it

    serve_haproxy.supervise_haproxy()
