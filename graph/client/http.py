"""Calls over HTTP, from any machine; does not load Ray."""

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import httpx
from pydantic import ValidationError

from deployments.contracts import Photo
from deployments.errors import (
    DeadlineExceeded,
    FaceGraphError,
    InvalidRequest,
    ModelUnavailable,
    RequestTooLarge,
    Unauthorized,
    UnexpectedAnswer,
    error_class,
)
from graph.client.images import file_from
from graph.client.retries import Retries, TryAgain
from graph.client.transport import Answer, Call, GalleryCall
from graph.gallery_schemas import NDJSON, ImportRequest
from graph.schemas import ErrorResponse

# Sockets overflow at longer ones.
_LONGEST_TIMEOUT_S = 1e9
# A call is not tried again if the server asks for a longer wait.
_LONGEST_WAIT_S = 30.0
# Errors by HTTP status, for answers that a proxy in front of the graph wrote in its own form.
_PROXY_ERRORS: dict[int, type[FaceGraphError]] = {
    401: Unauthorized,
    408: DeadlineExceeded,
    413: RequestTooLarge,
    502: ModelUnavailable,
    503: ModelUnavailable,
    504: DeadlineExceeded,
}


@dataclass(frozen=True)
class HttpOptions:
    """Limits of a call over HTTP; raises InvalidRequest for a number that makes no sense.

    timeout_s: seconds for sending a request and for its answer, each, in one try.
    connect_timeout_s: seconds for opening a connection. retries: tries after the first, if the
    server was lost or asked for another try.
    """

    timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    retries: int = 3

    def __post_init__(self) -> None:
        for name in ("timeout_s", "connect_timeout_s"):
            if not 0 < getattr(self, name) <= _LONGEST_TIMEOUT_S:
                raise InvalidRequest(
                    f"{name}: expected seconds over 0, at most {_LONGEST_TIMEOUT_S:g}", field=name
                )
        if self.retries < 0:
            raise InvalidRequest("retries: expected 0 or more", field="retries")


class HttpTransport:
    """Transport to a server. Its connections stay open between calls; threads and event loops may
    share it."""

    def __init__(self, url: str, api_key: str | None, options: HttpOptions) -> None:
        self._settings: dict[str, Any] = {
            "base_url": _server_url(url),
            "headers": _key_header(api_key),
            "timeout": httpx.Timeout(
                options.timeout_s, connect=options.connect_timeout_s, pool=None
            ),
            "verify": ssl.create_default_context(),
        }
        self._retries = Retries(options.retries)
        self._client = httpx.Client(**self._settings)
        # A connection belongs to the event loop that opened it.
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            WeakKeyDictionary()
        )

    def send(self, call: Call[Answer]) -> Answer:
        request = _request(call)

        def attempt() -> Answer:
            with _errors_translated(self._client.base_url):
                return _answer(call, self._client.request(**request))

        return self._retries.call(attempt)

    async def send_async(self, call: Call[Answer]) -> Answer:
        client = self._async_client()
        request = await asyncio.to_thread(_request, call)

        async def attempt() -> Answer:
            with _errors_translated(client.base_url):
                return _answer(call, await client.request(**request))

        return await self._retries.call_async(attempt)

    def stream(self, call: GalleryCall[Any]) -> Iterator[bytes]:
        try:
            with (
                _errors_translated(self._client.base_url),
                self._client.stream(**_gallery_request(call)) as response,
            ):
                if not response.is_success:
                    response.read()
                    raise _failure(response)
                yield from response.iter_bytes()
        except TryAgain as lost:
            raise lost.error from lost

    def close(self) -> None:
        self._client.close()

    async def close_async(self) -> None:
        self._client.close()
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client:
            await client.aclose()

    def _async_client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = httpx.AsyncClient(**self._settings)
        return self._async_clients[loop]


def _server_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"url: {url!r}: {error}", field="url") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidRequest(f"url: expected http(s)://host:port, got {url!r}", field="url")
    return parsed


def _key_header(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidRequest("api_key: expected printable ASCII", field="api_key")
    return {"authorization": f"Bearer {api_key}"}


def _request(call: Call[Any]) -> dict[str, Any]:
    if isinstance(call, GalleryCall):
        return _gallery_request(call)
    if not call.photos:
        return {"method": "GET", "url": f"/v1/{call.name}"}
    options = call.options.model_dump(exclude_none=True) if call.options else {}
    files = {photo.field: (photo.field, file_from(photo)) for photo in call.photos}
    return {"method": "POST", "url": f"/v1/{call.name}", "data": options, "files": files}


def _gallery_request(call: GalleryCall[Any]) -> dict[str, Any]:
    options = call.options
    fields = (
        options.model_dump(mode="json", exclude_unset=True, exclude={"lines"}) if options else {}
    )
    in_path = {name: fields.pop(name) for name in re.findall(r"{(\w+)}", call.path)}
    url = call.path.format_map({name: quote(value, safe="") for name, value in in_path.items()})
    request: dict[str, Any] = {"method": call.method, "url": url}
    if isinstance(call.options, ImportRequest):
        headers = {"content-type": NDJSON}
        return request | {"content": call.options.lines, "headers": headers}
    if call.photos:
        files = [(_field(photo), (photo.field, file_from(photo))) for photo in call.photos]
        return request | {"data": _as_text(fields), "files": files}
    if call.method in ("GET", "DELETE"):
        return request | {"params": _as_text(fields)}
    return request | {"json": fields}


def _field(photo: Photo) -> str:
    """The form's field of a photo; one of several is called `images.0`."""
    return photo.field.partition(".")[0]


def _as_text(fields: dict[str, Any]) -> dict[str, str]:
    """A form's or a query's fields: objects as JSON; null, which they do not have, is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


@contextmanager
def _errors_translated(url: httpx.URL) -> Iterator[None]:
    """Raise FaceGraph's errors in place of httpx's, in a TryAgain if the server was lost."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        lost = ModelUnavailable(f"{url}: no server can be reached: {error or 'no answer'}")
        raise TryAgain(lost) from error
    except httpx.TimeoutException as error:
        raise DeadlineExceeded(f"{url}: the answer was not here in time") from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswer(f"{url}: the answer cannot be decoded: {error}") from error
    except httpx.TransportError as error:
        raise TryAgain(ModelUnavailable(f"{url}: the connection was lost: {error}")) from error


def _answer(call: Call[Answer], response: httpx.Response) -> Answer:
    if not response.is_success:
        raise _failure(response)
    try:  # a newer server may send more fields
        return call.answer.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise _unexpected(response) from error


def _failure(response: httpx.Response) -> Exception:
    """The answer's error, in a TryAgain if another try may succeed."""
    error = _error_in(response)
    if response.status_code not in (502, 503) and not _is_proxys_500(response):
        return error
    wait_s = _retry_after_s(response)
    return error if (wait_s or 0) > _LONGEST_WAIT_S else TryAgain(error, wait_s)


def _is_proxys_500(response: httpx.Response) -> bool:
    """Tell whether a proxy wrote this 500: another try may succeed.

    Serve's HAProxy, where the graph does not supervise it, answers 500 if its replica was lost;
    other proxies answer 502. The graph's own 500 is JSON, and another try would fail too.
    """
    kind = response.headers.get("content-type", "")
    return response.status_code == 500 and not kind.startswith("application/json")


def _error_in(response: httpx.Response) -> FaceGraphError:
    """The error that the graph, or a proxy in front of it, answered with."""
    try:
        answer = ErrorResponse.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        return _unexpected(response)
    kind = error_class(answer.error.code)
    if kind is None:
        return _unexpected(response, f": {answer.error.message}")
    error = kind(answer.error.message)
    error.details = answer.error.details
    error.request_id = answer.request_id
    return error


def _unexpected(response: httpx.Response, message: str = "") -> FaceGraphError:
    kind = _PROXY_ERRORS.get(response.status_code, UnexpectedAnswer)
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    error = kind(f"{response.url} answered {status}{message}", status=response.status_code)
    error.request_id = response.headers.get("x-request-id")
    return error


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds of the header Retry-After; None where it is missing or is a date."""
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else None
