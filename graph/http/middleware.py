"""The ASGI application and its middleware: security headers, the request log and CORS.

Every answer has the headers and a log line, even the one to an unexpected error.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.access import AccessConfig
from graph.schemas import Timing

# The pages have no inline scripts or styles. Photos are files that the user chose (blob:) or drawn
# by the page (data:).
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": _CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Answers are for the client that sent the photo. The pages' files set a header of their own.
    "cache-control": "no-store",
}
_RECORD = "facegraph.record"

logger = logging.getLogger("ray.serve")


class HttpApp(Starlette):
    """Starlette application, wrapped in SecurityHeaders and RequestLog.

    They cannot be in Starlette's list of middleware: it answers unexpected errors outside of it.
    """

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(RequestLog(super().build_middleware_stack()))


def cors(config: AccessConfig) -> list[Middleware]:
    """Return the CORS middleware for the allowed origins. Without origins there is none: browsers
    hide answers from pages of other sites."""
    if not config.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )
    ]


class SecurityHeaders:
    """ASGI middleware: adds the SECURITY_HEADERS that an answer does not have yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


@dataclass
class RequestRecord:
    """Facts about a request for its log line, collected while it is handled.

    client: name of its key, or `anonymous`; None for an unknown or missing key. error: the code of
    its answer. photos: their count in its body, once that is read.
    """

    client: str | None = None
    error: str | None = None
    timings: Sequence[Timing] = ()
    photos: int = 0

    @staticmethod
    def of(scope: Scope) -> "RequestRecord":
        record: RequestRecord = scope.setdefault(_RECORD, RequestRecord())
        return record


class RequestLog:
    """ASGI middleware: logs a line for each HTTP request, with client, route, status, duration and
    the stages' times.

    With `logging_config: {encoding: JSON}` Serve writes the line as a JSON object, and adds the
    request id, the application and the replica. The line never has an image, an embedding or a key.
    Its path is that of the matching route, such as `/examples/{name}`: a client may write anything
    in the path that it sends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        record = RequestRecord.of(scope)
        started = time.perf_counter()
        status = 499  # the client went away before there was an answer

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            _log(scope, record, status, (time.perf_counter() - started) * 1000)


def _log(scope: Scope, record: RequestRecord, status: int, duration_ms: float) -> None:
    route = scope["route"].path if "route" in scope else "unknown"  # Starlette sets it on a match
    shown = (scope["method"], route, status, duration_ms, record.client or "no key")
    fields = {
        "client": record.client,
        "method": scope["method"],
        "path": route,
        "status": status,
        "error": record.error,
        "duration_ms": round(duration_ms, 2),
        "stages_ms": _by_stage(record.timings),
    }
    logger.info("%s %s %d %.1f ms, %s", *shown, extra=fields)


def _by_stage(timings: Sequence[Timing]) -> dict[str, float]:
    """Return each stage's milliseconds; of several photos in a stage, the longest."""
    longest: dict[str, float] = {}
    for timing in timings:
        longest[timing.stage] = max(longest.get(timing.stage, 0.0), timing.duration_ms)
    return {stage: round(duration_ms, 2) for stage, duration_ms in longest.items()}
