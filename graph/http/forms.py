"""From an HTTP request to a validated schema: multipart, JSON or an image as the raw body."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import anyio
from anyio import to_thread
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

from configs.limits import RequestLimits
from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    RequestTooLarge,
    UnsupportedMediaType,
)
from graph.http.admission import Share
from graph.schemas import LIST_FIELDS, MAX_FIELDS, Form, shown, validate

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")
# Bytes of JSON from which reading it takes longer than handing it to a thread, many times over.
_LARGE_JSON = 512 * 1024


class _InMemory(MultiPartParser):
    """Starlette writes larger files to the disk; photos of faces stay off it."""

    spool_max_size = sys.maxsize


async def read_form(
    request: Request, form: type[Form], limits: RequestLimits, memory: Share
) -> Form:
    """The request's fields, whichever way they came.

    Raises InvalidRequest naming the field, RequestTooLarge as soon as too much has come, Overloaded
    as soon as it has for all requests together, UnsupportedMediaType for a body of another type,
    DeadlineExceeded for one that does not come.
    """
    try:
        with anyio.fail_after(limits.body_timeout_s):
            return await _read(request, form, limits.max_bytes, memory)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"body: not here after {limits.body_timeout_s} s", field="body"
        ) from error


async def _read(request: Request, form: type[Form], max_bytes: int, memory: Share) -> Form:
    bounded = Request(request.scope, _bounded(request, max_bytes, memory))
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    one_image = "image" in form.model_fields  # only then the query may hold options
    query = request.query_params.multi_items() if one_image else []
    if media_type == "multipart/form-data":
        return validate(form, _collect([*query, *await _parts(bounded, max_bytes)]))
    if media_type == "application/json":
        return await _validate_json(form, await bounded.body(), query)
    if media_type in IMAGE_TYPES and one_image:
        return validate(form, _collect([*query, ("image", await bounded.body())]))
    raise UnsupportedMediaType(_expected_types(media_type, form), field="content-type")


def _expected_types(media_type: str, form: type[BaseModel]) -> str:
    raw = f", or an image as the body ({', '.join(IMAGE_TYPES)})"
    return (
        f"content-type: {media_type or 'none'!r} is not taken here; send multipart/form-data or"
        f" application/json{raw if 'image' in form.model_fields else ''}"
    )


def _bounded(request: Request, max_bytes: int, memory: Share) -> Receive:
    """`request.receive`, counting: stops reading a body once it is longer than allowed."""
    too_large = RequestTooLarge(
        f"body: longer than {max_bytes} bytes", field="body", max_bytes=max_bytes
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large

    async def receive() -> Message:
        message = await request.receive()
        count = len(message.get("body", b""))
        if memory.taken + count > max_bytes:
            raise too_large
        memory.take(count)
        return message

    return receive


async def _parts(request: Request, max_bytes: int) -> list[tuple[str, Any]]:
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=MAX_FIELDS,
        max_fields=MAX_FIELDS,
        max_part_size=max_bytes,
    )
    try:
        parts = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"body: {error.message}", field="body") from error
    return [
        (name, await part.read() if isinstance(part, UploadFile) else part)
        for name, part in parts.multi_items()
    ]


async def _validate_json(form: type[Form], body: bytes, query: list[tuple[str, str]]) -> Form:
    """Large bodies in a thread: one of 32 MiB would hold up all other requests for 0.2 s."""

    def validated() -> Form:
        return validate(form, _collect([*query, *_json_fields(body).items()]))

    return validated() if len(body) < _LARGE_JSON else await to_thread.run_sync(validated)


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body, object_pairs_hook=_collect)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: not JSON: {error}", field="body") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("body: expected a JSON object", field="body")
    return fields


def _collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by name; only a list may come several times."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in LIST_FIELDS and isinstance(value, str):
            if not isinstance(fields[name], list):
                fields[name] = [fields[name]]
            fields[name].append(value)
        else:
            raise InvalidRequest(f"{shown(name)}: given more than once", field=shown(name))
    return fields
