"""FaceGraph's errors as HTTP answers."""

import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.errors import FaceGraphError
from graph.http.middleware import RequestRecord
from graph.schemas import ErrorBody, ErrorResponse

STATUS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "unknown_recognizer": 404,
    "method_not_allowed": 405,
    "image_too_large": 413,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_image": 422,
    "face_not_found": 422,
    "internal": 500,
    "overloaded": 503,
    "model_unavailable": 503,
    "deadline_exceeded": 504,
}

logger = logging.getLogger("ray.serve")

Handler = Callable[[Request, Exception], Awaitable[Response]]


def error_handlers(retry_after_s: int) -> dict[type[Exception], Handler]:
    """What Starlette calls for each kind of exception that a route raises."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, FaceGraphError)
        return _answer(request, error.code, error.message, error.details, retry_after_s)

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "not_found"
        message = f"{request.method} {request.url.path}: {error.detail}"
        answer = _answer(request, code, message, {}, retry_after_s)
        answer.headers.update(error.headers or {})  # the methods that the route does take
        return answer

    async def unforeseen(request: Request, error: Exception) -> Response:
        logger.error("request %s failed: %s", _request_id(request), type(error).__name__)
        message = "the graph failed on this request; its log has more under the request id"
        return _answer(request, "internal", message, {}, retry_after_s)

    return {FaceGraphError: known, HTTPException: routing, Exception: unforeseen}


def _answer(
    request: Request, code: str, message: str, details: dict[str, object], retry_after_s: int
) -> Response:
    status = STATUS[code]
    RequestRecord.of(request.scope).error = code
    body = ErrorResponse(
        error=ErrorBody(code=code, message=message, details=details),
        request_id=_request_id(request),
    )
    retry_after = details.get("retry_after_s", retry_after_s)
    headers = {"retry-after": str(retry_after)} if status == 503 else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def _request_id(request: Request) -> str:
    """Serve gives every request that comes without an id a new one, and sends it back."""
    return request.headers.get("x-request-id", "")
