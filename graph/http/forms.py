"""Parser of HTTP requests (multipart, JSON, or an image as the raw body) into schemas."""

import json
import sys
from collections.abc import Iterable
from io import BytesIO
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
from graph.gallery_schemas import NDJSON
from graph.http.admission import Share
from graph.schemas import MAX_FIELDS, REPEATABLE_FIELDS, Form, printable, validate

IMAGE_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/heic",
    "image/avif",
    "application/octet-stream",
)
# The fields that a request's body may be, as it is.
LINES = "lines"
RAW_FIELDS = ("image", "images", LINES)
WITH_BODY = ("POST", "PUT", "PATCH")
# Further names of these types that clients send. The type decides nothing: a file's content does.
_ALIASES = ("image/jpg", "image/pjpeg", "image/x-png", "image/x-ms-bmp", "image/heif")
# From so many bytes on, a body that grows is moved without a copy, and leaves no gap when it goes.
RETURNED_FROM_BYTES = 1024 * 1024
# From so many bytes on, JSON is parsed in a thread: that costs far less than parsing itself.
_LARGE_JSON = 512 * 1024
# Commas and opening brackets in a large JSON body, at most. Its photos are strings of base64, which
# have none; a body of 30 MB with little else takes 600 MB, and the GIL for many seconds.
_MOST_VALUES = 1000
# Large JSON bodies that are parsed at a time: parsing takes about four times the body's memory.
_JSON_PARSERS = anyio.CapacityLimiter(1)


class _InMemory(MultiPartParser):
    """Multipart parser that keeps all files in memory: Starlette's writes files over 1 MB to the
    disk, where no photo of a face must be."""

    spool_max_size = sys.maxsize

    def on_headers_finished(self) -> None:
        """Take a part of an image's type as a file even if it has no file name."""
        part = self._current_part
        disposition = part.content_disposition or b""
        kind = dict(part.item_headers).get(b"content-type", b"").decode("latin-1")
        if _is_image_type(_media_type(kind)) and b"filename" not in disposition:
            part.content_disposition = disposition + b'; filename="image"'
        super().on_headers_finished()


async def read_form(
    request: Request, form: type[Form], limits: RequestLimits, share: Share
) -> Form:
    """Read and validate the request's fields from its query and body.

    Raises InvalidRequest naming the field; RequestTooLarge as soon as the body passes `max_bytes`;
    Overloaded as soon as all bodies together pass the memory's limit; UnsupportedMediaType for a
    body of another type; DeadlineExceeded for a body that has not arrived after `body_timeout_s`.
    """
    try:
        with anyio.fail_after(limits.body_timeout_s):
            return await _read(request, form, limits.max_bytes, share)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"body: not here after {limits.body_timeout_s} s", field="body"
        ) from error


async def _read(request: Request, form: type[Form], max_bytes: int, share: Share) -> Form:
    bounded = Request(request.scope, _bounded(request, max_bytes, share))
    media_type = _media_type(request.headers.get("content-type", ""))
    raw = raw_field(form)  # only routes with one take options in the query beside a body
    fields = list(request.path_params.items())
    if raw or request.method not in WITH_BODY:
        fields += request.query_params.multi_items()
    if request.method not in WITH_BODY or _has_no_body(request, media_type, form):
        return validate(form, _collect(fields))
    if media_type == "multipart/form-data" and raw != LINES:
        return validate(form, _collect([*fields, *await _parts(bounded, max_bytes)]))
    if media_type == "application/json" and raw != LINES:
        return await _validate_json(form, await _body(bounded), fields)
    if raw and _is_raw_type(raw, media_type):
        return validate(form, _collect([*fields, (raw, await _body(bounded))]))
    raise UnsupportedMediaType(_expected_types(media_type, form), field="content-type")


def raw_field(form: type[BaseModel]) -> str | None:
    """The field that the body may be, as it is; None for a form without one."""
    return next((name for name in RAW_FIELDS if name in form.model_fields), None)


def raw_types(field: str) -> tuple[str, ...]:
    """The content types of a body that is this field."""
    return (NDJSON,) if field == LINES else IMAGE_TYPES


def _is_raw_type(field: str, media_type: str) -> bool:
    return media_type in raw_types(field) or (field != LINES and media_type in _ALIASES)


def _has_no_body(request: Request, media_type: str, form: type[BaseModel]) -> bool:
    """True for a request that needs none and has none, such as a PUT with its path alone."""
    declared = request.headers.get("content-length", "0") == "0"
    chunked = "transfer-encoding" in request.headers
    return not (raw_field(form) or media_type or chunked) and declared


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _is_image_type(media_type: str) -> bool:
    return media_type in IMAGE_TYPES or media_type in _ALIASES


def _expected_types(media_type: str, form: type[BaseModel]) -> str:
    field = raw_field(form)
    raw = f", or an image as the body ({', '.join(IMAGE_TYPES)})" if field else ""
    taken = NDJSON if field == LINES else f"multipart/form-data or application/json{raw}"
    return f"content-type: {media_type or 'none'!r} is not taken here; send {taken}"


def _bounded(request: Request, max_bytes: int, share: Share) -> Receive:
    """Return `request.receive`, limited: it raises RequestTooLarge at the first byte too many."""
    too_large = RequestTooLarge(
        f"body: longer than {max_bytes} bytes", field="body", max_bytes=max_bytes
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large

    async def receive() -> Message:
        message = await request.receive()
        count = len(message.get("body", b""))
        if share.taken + count > max_bytes:
            raise too_large
        share.take(count)
        return message

    return receive


async def _body(request: Request) -> bytes:
    """The whole body. It is kept once: joining its pieces would take the memory twice."""
    body = BytesIO()
    async for piece in request.stream():
        body.write(piece)
    return body.getvalue()


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
    """Parse and validate a JSON body; a large one in a thread, since one of 32 MiB would block the
    event loop for 0.2 s."""

    def validated() -> Form:
        return validate(form, _collect([*query, *_json_fields(body).items()]))

    if len(body) < _LARGE_JSON:
        return validated()
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InvalidRequest(f"body: more than {_MOST_VALUES} values", field="body")
    return await to_thread.run_sync(validated, limiter=_JSON_PARSERS)


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body, object_pairs_hook=_collect)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: not JSON: {error}", field="body") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("body: expected a JSON object", field="body")
    return fields


def _collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields by name. Raises InvalidRequest for a repeated one that is not a list."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in REPEATABLE_FIELDS and isinstance(value, str | bytes):
            if not isinstance(fields[name], list):
                fields[name] = [fields[name]]
            fields[name].append(value)
        else:
            raise InvalidRequest(f"{printable(name)}: given more than once", field=printable(name))
    return fields
