"""Examples in the API's description: requests that can be sent as they are, the answers of a graph
with the default models to them (examples.json), and each error."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
from pydantic import BaseModel

from configs.limits import ImageLimits, RequestLimits
from deployments.contracts import Photo
from deployments.errors import (
    DeadlineExceeded,
    FaceGraphError,
    FaceNotFound,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    Overloaded,
    RequestTooLarge,
    Unauthorized,
    UnknownRecognizer,
    UnsupportedMediaType,
)
from deployments.images.decode import read_photo
from graph.bundled import example_photo
from graph.http.access import KEY_REQUIRED
from graph.http.errors import UNEXPECTED_ERROR
from graph.schemas import validate

RECORDED = Path(__file__).with_suffix(".json")
REQUEST_ID = "532980ef-0d84-4ab6-bbdc-1383c3cc4e7d"
# The same man in two bundled photos: x1 y1 x2 y2 in pixels, with room around his face.
_EXCERPTS = {
    "source": ("yaoming.jpg", (20, 20, 230, 280)),
    "image": ("yaoming.jpg", (20, 20, 230, 280)),
    "target": ("players.jpg", (690, 105, 790, 230)),
}
_EXCERPT_WIDTH_PX = 96
_EXCERPT_QUALITY = 60


@cache
def request_example(takes: type[BaseModel]) -> dict[str, Any] | None:
    """The JSON form of a request; None without the package that has the photos."""
    images = {name: _excerpt(*_EXCERPTS[name]) for name in takes.model_fields if name in _EXCERPTS}
    options: dict[str, Any] = {"faces": "all"} if "faces" in takes.model_fields else {}
    return images | options if all(images.values()) else None


def _excerpt(name: str, box: tuple[int, int, int, int]) -> str | None:
    """The part of a bundled photo inside of the box (x1, y1, x2, y2 in pixels), as a small JPEG in
    base64; None without the package."""
    path = example_photo(name)
    if path is None:
        return None
    x1, y1, x2, y2 = box
    pixels = read_photo(Photo(name, path.read_bytes()), ImageLimits())[y1:y2, x1:x2]
    height = round(_EXCERPT_WIDTH_PX * (y2 - y1) / (x2 - x1))
    small = cv2.resize(pixels, (_EXCERPT_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _EXCERPT_QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode()


@cache
def answer_example(path: str) -> dict[str, Any]:
    """The recorded answer of that route, to its request's example if it has one."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text())
    return recorded[path]


def error_example(kind: type[FaceGraphError], takes: type[BaseModel] | None) -> dict[str, Any]:
    """The whole body of an error of a route that takes such a request."""
    if kind is InvalidRequest and takes:
        error = _without_fields(takes)
    else:
        field = "target" if takes and "target" in takes.model_fields else "image"
        (error,) = (error for error in _errors(field) if type(error) is kind)
    body = {"code": error.code, "message": error.message, "details": error.details}
    return {"error": body, "request_id": REQUEST_ID}


def _without_fields(takes: type[BaseModel]) -> FaceGraphError:
    """The error of a request without any field."""
    try:
        validate(takes, {})
    except InvalidRequest as error:
        return error
    raise AssertionError(f"{takes.__name__} has no required field")


def _errors(field: str) -> tuple[FaceGraphError, ...]:
    """One error of each kind; `field` names the image at fault."""
    image, request = ImageLimits(), RequestLimits()
    return (
        Unauthorized(KEY_REQUIRED),
        NotFound("GET /examples/nobody.jpg: Not Found"),
        UnknownRecognizer(
            "recognizers: 'nobody' is not served; this graph has arcface",
            field="recognizers",
            served=["arcface"],
        ),
        ImageTooLarge(
            f"{field}: 60000 x 60000 pixels, at most {image.max_pixels} are taken",
            field=field,
            max_pixels=image.max_pixels,
        ),
        RequestTooLarge(
            f"body: longer than {request.max_bytes} bytes",
            field="body",
            max_bytes=request.max_bytes,
        ),
        UnsupportedMediaType(
            f"{field}: GIF is not served; send JPEG, PNG, WebP or BMP", field=field
        ),
        InvalidImage(f"{field}: not a readable JPEG, PNG, WebP or BMP image", field=field),
        FaceNotFound(f"{field}: no face found", field=field),
        FaceGraphError(UNEXPECTED_ERROR),
        Overloaded("256 requests are under way here; try again later"),
        ModelUnavailable("a replica of the graph was lost; try again"),
        DeadlineExceeded("the answer was not ready in time"),
    )
