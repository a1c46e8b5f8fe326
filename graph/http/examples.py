"""What the API's description shows: requests that can be sent as they are, what a graph with the
default models answered to them (examples.json), and each error."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
from pydantic import BaseModel

from configs.limits import ImageLimits, RequestLimits
from deployments.contracts import Photo
from deployments.errors import FaceGraphError
from deployments.images.decode import read_photo
from graph.bundled import example_photo
from graph.schemas import validate

RECORDED = Path(__file__).with_suffix(".json")
REQUEST_ID = "532980ef-0d84-4ab6-bbdc-1383c3cc4e7d"
# Where the same man is in two bundled photos: x1 y1 x2 y2 in pixels, with room around his face.
_EXCERPTS = {
    "source": ("yaoming.jpg", (20, 20, 230, 280)),
    "image": ("yaoming.jpg", (20, 20, 230, 280)),
    "target": ("players.jpg", (690, 105, 790, 230)),
}


@cache
def request_example(takes: type[BaseModel]) -> dict[str, Any] | None:
    """The JSON form of a request; None without the package that has the photos."""
    images = {name: excerpt(*_EXCERPTS[name]) for name in takes.model_fields if name in _EXCERPTS}
    options: dict[str, Any] = {"faces": "all"} if "faces" in takes.model_fields else {}
    return images | options if all(images.values()) else None


@cache
def answer_example(path: str) -> dict[str, Any]:
    """What was answered on that path, to its request's example where it has one."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text())
    return recorded[path]


def error_example(code: str, takes: type[BaseModel] | None) -> dict[str, Any]:
    """The whole body of an error of a route that takes such a request."""
    field = "target" if takes and "target" in takes.model_fields else "image"
    if code == "invalid_request" and takes:
        message, details = _nothing_sent(takes)
    else:
        message, details = _ERRORS[code]
    error = {"code": code, "message": message.format(field=field), "details": details}
    if details.get("field") == "{field}":
        error["details"] = details | {"field": field}
    return {"error": error, "request_id": REQUEST_ID}


def _nothing_sent(takes: type[BaseModel]) -> tuple[str, dict[str, Any]]:
    try:
        validate(takes, {})
    except FaceGraphError as error:
        return error.message, error.details
    raise AssertionError(f"{takes.__name__} has no required field")


_ERRORS: dict[str, tuple[str, dict[str, Any]]] = {
    "unauthorized": (
        "an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY",
        {},
    ),
    "not_found": ("GET /examples/nobody.jpg: Not Found", {}),
    "unknown_recognizer": (
        "recognizers: 'nobody' is not served; this graph has arcface",
        {"field": "recognizers", "served": ["arcface"]},
    ),
    "image_too_large": (
        f"{{field}}: 60000 x 60000 pixels, at most {ImageLimits().max_pixels} are taken",
        {"field": "{field}", "max_pixels": ImageLimits().max_pixels},
    ),
    "request_too_large": (
        f"body: longer than {RequestLimits().max_bytes} bytes",
        {"field": "body", "max_bytes": RequestLimits().max_bytes},
    ),
    "unsupported_media_type": (
        "{field}: GIF is not served; send JPEG, PNG, WebP or BMP",
        {"field": "{field}"},
    ),
    "invalid_image": (
        "{field}: not a readable JPEG, PNG, WebP or BMP image",
        {"field": "{field}"},
    ),
    "face_not_found": ("{field}: no face found", {"field": "{field}"}),
    "internal": (
        "the graph failed on this request; its log has more under the request id",
        {},
    ),
    "overloaded": ("256 requests are under way here; try again later", {}),
    "model_unavailable": ("a replica of the graph was lost; try again", {}),
    "deadline_exceeded": ("the answer was not ready in time", {}),
}


_EXCERPT_WIDTH_PX = 96


_EXCERPT_QUALITY = 60


def excerpt(name: str, box: tuple[int, int, int, int]) -> str | None:
    """What is inside of the box (x1, y1, x2, y2 in pixels) of a bundled photo, as a small JPEG in
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
