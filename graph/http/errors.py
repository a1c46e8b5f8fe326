"""Starlette exception handlers, which turn errors into the HTTP contract's JSON answers."""

import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.errors import FaceGraphError, MethodNotAllowed, NotFound, RoutingError
from graph.http.middleware import RequestRecord
from graph.schemas import ErrorBody, ErrorResponse

UNEXPECTED_ERROR = "the graph failed on this request; its log has more under the request id"

logger = logging.getLogger("ray.serve")

Handler = Callable[[Request, Exception], Awaitable[Response]]


def error_handlers(retry_after_s: int) -> dict[type[Exception], Handler]:
    """Starlette's exception handlers. retry_after_s: for a 503 whose details give no seconds."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, FaceGraphError)
        return _answer(request, error, retry_after_s)

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = _answer(request, _routing_error(request, error), retry_after_s)
        answer.headers.update(error.headers or {})  # `allow`: the methods that the route takes
        return answer

    async def unexpected(request: Request, error: Exception) -> Response:
        logger.error("request %s failed: %s", _request_id(request), type(error).__name__)
        return _answer(request, FaceGraphError(UNEXPECTED_ERROR), retry_after_s)

    return {FaceGraphError: known, HTTPException: routing, Exception: unexpected}


def _routing_error(request: Request, error: HTTPException) -> RoutingError:
    tried, docs = f"{request.method} {request.url.path}", f"{request.scope['root_path']}/docs"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{tried}: this route takes {allowed}; {docs} describes it, and sends requests"
        return MethodNotAllowed(message, allowed=allowed.split(", "), docs=docs)
    if "route" in request.scope:
        return NotFound(f"{tried}: there is nothing of that name")
    return NotFound(f"{tried}: there is no such route; {docs} lists the routes", docs=docs)


def _answer(request: Request, error: FaceGraphError, retry_after_s: int) -> Response:
    RequestRecord.of(request.scope).error = error.code
    body = ErrorResponse(
        error=ErrorBody(code=error.code, message=error.message, details=error.details),
        request_id=_request_id(request),
    )
    retry_after = error.details.get("retry_after_s", retry_after_s)
    headers = {"retry-after": str(retry_after)} if error.status == 503 else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body.model_dump(), status_code=error.status, headers=headers)


def _request_id(request: Request) -> str:
    """Return the request's id. Serve makes one if the client sent none, and answers with it."""
    return request.headers.get("x-request-id", "")
