"""One line in the log for each HTTP request: who, what, which answer, how long.

With `logging_config: {encoding: JSON}` Serve writes it as one JSON object, to which it adds the
request id, the application and the replica. Never an image, an embedding or a key; of the path only
what a route has, since a client may write anything there.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.schemas import Timing

_RECORD = "facegraph.record"

logger = logging.getLogger("ray.serve")


@dataclass
class RequestRecord:
    """What becomes known of a request on its way.

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
    """ASGI middleware."""

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
            _write(scope, record, status, (time.perf_counter() - started) * 1000)


def _write(scope: Scope, record: RequestRecord, status: int, duration_ms: float) -> None:
    # Starlette notes the endpoint of the route that it found.
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
    """The longest of each stage: the photos of a request are worked on at the same time."""
    longest: dict[str, float] = {}
    for timing in timings:
        longest[timing.stage] = max(longest.get(timing.stage, 0.0), timing.duration_ms)
    return {stage: round(duration_ms, 2) for stage, duration_ms in longest.items()}
