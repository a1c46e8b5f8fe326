"""The ASGI application and its middleware: security headers, the request log and CORS.

Every answer has the headers and a line in the log, that to an unexpected error included.
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

# Pages load their scripts and styles as files of their own; photos that a page shows are chosen by
# its user (blob:) or drawn by the page (data:).
_CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
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
    """Starlette's application inside of the security headers and the request log.

    Starlette answers unexpected errors outside of all middleware that it is given; these two are
    outside of that answer as well.
    """

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(RequestLog(super().build_middleware_stack()))


def cors(config: AccessConfig) -> list[Middleware]:
    """The CORS middleware for the allowed origins. Without any there is none: browsers then keep
    answers from pages of other sites."""
    if not config.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )
    ]


class SecurityHeaders:
    """ASGI middleware: adds headers that restrict what a browser does with an answer. A header that
    the answer has already is left as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded_send)


@dataclass
class RequestRecord:
    """Facts that become known while a request is handled, for its line in the log.

    client: the name of its key. error: the code of its answer. timings: of its stages.
    """

    client: str | None = None
    error: str | None = None
    timings: Sequence[Timing] = ()

    @staticmethod
    def of(scope: Scope) -> "RequestRecord":
        record: RequestRecord = scope.setdefault(_RECORD, RequestRecord())
        return record


class RequestLog:
    """ASGI middleware: one line in the log for each HTTP request, with client, route, status,
    duration and the stages' times.

    With `logging_config: {encoding: JSON}` Serve writes it as one JSON object, to which it adds the
    request id, the application and the replica. It never has an image, an embedding or a key, and a
    path only if a route has it: a client may write anything there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        record = RequestRecord.of(scope)
        started = time.perf_counter()
        status = 499  # the client went away before there was an answer

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            _log(scope, record, status, (time.perf_counter() - started) * 1000)


def _log(scope: Scope, record: RequestRecord, status: int, duration_ms: float) -> None:
    # Starlette sets `endpoint` once it has found a route.
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    route = path[:64] if "endpoint" in scope else "unknown"
    logger.info(
        "%s %s %d %.1f ms, %s",
        scope["method"],
        route,
        status,
        duration_ms,
        record.client or "no key",
        extra={
            "client": record.client,
            "method": scope["method"],
            "path": route,
            "status": status,
            "error": record.error,
            "duration_ms": round(duration_ms, 2),
            "stages_ms": _by_stage(record.timings),
        },
    )


def _by_stage(timings: Sequence[Timing]) -> dict[str, float]:
    """Milliseconds of each stage; the longest where it worked on several photos at a time."""
    longest: dict[str, float] = {}
    for timing in timings:
        longest[timing.stage] = max(longest.get(timing.stage, 0.0), timing.duration_ms)
    return {stage: round(duration_ms, 2) for stage, duration_ms in longest.items()}
