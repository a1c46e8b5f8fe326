"""Starlette requests made without a server, and the forms read from them."""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Message

from configs.limits import RequestLimits
from deployments.errors import FaceGraphError
from graph.http.admission import BodyMemory
from graph.http.forms import read_form
from graph.schemas import CompareRequest, Form


class Body:
    """A body that arrives piece by piece; `taken` counts the pieces received."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._pieces = [content[at : at + piece] for at in range(0, len(content), piece)] or [b""]
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += 1
        more = self.taken < len(self._pieces)
        body = self._pieces[self.taken - 1]
        return {"type": "http.request", "body": body, "more_body": more}


def request(
    body: Body,
    headers: Mapping[str, str],
    *,
    query: str = "",
    method: str = "POST",
    path_params: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "path_params": dict(path_params),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "app": Starlette(),
    }
    return Request(scope, body.receive)


def multipart(
    *parts: tuple[str, str | bytes | tuple[str, bytes]], piece: int = 1000
) -> tuple[Request, Body]:
    """Parts by name, in order: text or bytes as they are, or a file's name and content."""
    files = [(name, part if isinstance(part, tuple) else (None, part)) for name, part in parts]
    encoded = httpx.Request("POST", "http://server/", files=files)
    body = Body(encoded.read(), piece)
    return request(body, encoded.headers), body


def read(sent: Request, form: type[Form], limits: RequestLimits | None = None) -> Form:
    limits = limits or RequestLimits()
    with BodyMemory(limits.max_bytes_in_flight).share() as memory:
        return asyncio.run(read_form(sent, form, limits, memory))


def json_request(content: object) -> Request:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return request(Body(body, piece=100_000), {"content-type": "application/json; charset=utf-8"})


def raw(content: bytes, media_type: str, query: str = "") -> Request:
    return request(Body(content, piece=5), {"content-type": media_type}, query=query)


def refused(
    sent: Request,
    kind: type[FaceGraphError],
    form: type[BaseModel] = CompareRequest,
    limits: RequestLimits | None = None,
) -> FaceGraphError:
    """The error that reading raises; it must be short enough for an answer."""
    with pytest.raises(kind) as caught:
        read(sent, form, limits)
    error = caught.value
    assert len(json.dumps([error.message, error.details], ensure_ascii=False).encode()) < 5000
    return error
