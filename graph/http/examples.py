"""Examples of the API's description: requests that can be sent unchanged, their answers by a graph
with the default models (recorded in examples.json), and one error of each kind."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
from pydantic import BaseModel

from configs.limits import ImageLimits, RequestLimits
from deployments import errors
from deployments.contracts import Photo
from deployments.images.decode import read_photo
from graph.bundled import example_photo
from graph.http.access import KEY_REQUIRED
from graph.http.errors import UNEXPECTED_ERROR
from graph.pipeline.galleries import SWITCHED_OFF
from graph.pipeline.judgements import SWITCHED_OFF as LIVENESS_OFF
from graph.schemas import validate

RECORDED = Path(__file__).with_suffix(".json")
REQUEST_ID = "532980ef-0d84-4ab6-bbdc-1383c3cc4e7d"
# The same man in two bundled photos: x1, y1, x2, y2 in pixels, with a margin around his face.
_PORTRAIT = ("yaoming.jpg", (20, 20, 230, 280))
_EXCERPTS = {
    "source": _PORTRAIT,
    "image": _PORTRAIT,
    "target": ("players.jpg", (690, 105, 790, 230)),
}
_EXCERPT_WIDTH_PX = 96
_EXCERPT_QUALITY = 60


@cache
def request_example(takes: type[BaseModel], without: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """Return a request's example as JSON; None if the photos' package is not installed.

    without: fields that the path has.
    """
    images = {name: _excerpt(*_EXCERPTS[name]) for name in takes.model_fields if name in _EXCERPTS}
    if not all(images.values()):
        return None
    several = {"images": [_excerpt(*_PORTRAIT)]} if "images" in takes.model_fields else {}
    options: dict[str, Any] = {"faces": "all"} if "faces" in takes.model_fields else {}
    for name, field in takes.model_fields.items():
        if field.examples and name not in without:
            options[name] = field.examples[0]
    return images | several | options


def _excerpt(name: str, box: tuple[int, int, int, int]) -> str | None:
    """Return the part of a bundled photo inside the box (x1, y1, x2, y2 in pixels) as a small JPEG
    in base64; None if the photos' package is not installed."""
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
def answer_example(name: str) -> dict[str, Any]:
    """Return the recorded answer of the route of that name, to its `request_example` if any."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text())
    return recorded[name]


def error_example(
    kind: type[errors.FaceGraphError], takes: type[BaseModel] | None
) -> dict[str, Any]:
    """Return the whole body of an error, as a route that takes such requests answers it."""
    if kind is errors.InvalidRequest and takes:
        error = _without_fields(takes)
    else:
        field = "target" if takes and "target" in takes.model_fields else "image"
        (error,) = (error for error in _errors(field) if type(error) is kind)
    body = {"code": error.code, "message": error.message, "details": error.details}
    return {"error": body, "request_id": REQUEST_ID}


def _without_fields(takes: type[BaseModel]) -> errors.FaceGraphError:
    """Return the error of a request with its path alone or, if it needs no more, with a field that
    the route does not have."""
    needed = {name: field for name, field in takes.model_fields.items() if field.is_required()}
    given = {name: field.examples[0] for name, field in needed.items() if field.examples}
    try:
        validate(takes, given if len(given) < len(needed) else given | {"colour": "red"})
    except errors.InvalidRequest as error:
        return error
    raise AssertionError(f"{takes.__name__} has no required field")


def _errors(field: str) -> tuple[errors.FaceGraphError, ...]:
    """One error of each kind; `field` names the image at fault."""
    image, request = ImageLimits(), RequestLimits()
    return (
        errors.Unauthorized(KEY_REQUIRED),
        errors.Forbidden(
            "this route needs the scope enrol; the API key 'entrance' has search",
            scopes=["enrol"],
        ),
        errors.GalleriesDisabled(SWITCHED_OFF),
        errors.UnknownGallery("there is no gallery 'staff'", gallery="staff"),
        errors.UnknownPerson("there is no person 'p-1017'", person="p-1017"),
        errors.UnknownFace("there is no face 'f-1'", face="f-1"),
        errors.GalleryConflict("gallery 'staff': its recognizer is arcface", gallery="staff"),
        errors.WrongModel("the gallery 'staff' holds embeddings of another model"),
        errors.GalleryFull("the gallery 'staff' is full"),
        errors.GalleryUnavailable("the galleries' database does not answer; try again later"),
        errors.GalleryDiskFull(
            "the disk of the galleries' database is full: 12 MiB are free, and at least 128 are"
            " needed (gallery.embedded.min_free_mb)"
        ),
        errors.NotFound("GET /examples/nobody.jpg: there is nothing of that name"),
        errors.UnknownRecognizer(
            "recognizers: 'nobody' is not served; this graph has arcface",
            field="recognizers",
            served=["arcface"],
        ),
        errors.UnknownClassifier(
            "attributes: 'nobody' is not served; this graph has mask",
            field="attributes",
            served=["mask"],
        ),
        errors.LivenessDisabled(LIVENESS_OFF, field="liveness"),
        errors.ImageTooLarge(
            f"{field}: 60000 x 60000 pixels, at most {image.max_pixels} are taken",
            field=field,
            max_pixels=image.max_pixels,
        ),
        errors.RequestTooLarge(
            f"body: longer than {request.max_bytes} bytes",
            field="body",
            max_bytes=request.max_bytes,
        ),
        errors.UnsupportedMediaType(
            f"{field}: GIF is not served; send JPEG, PNG, WebP or BMP", field=field
        ),
        errors.InvalidImage(f"{field}: not a readable JPEG, PNG, WebP or BMP image", field=field),
        errors.FaceNotFound(f"{field}: no face found", field=field),
        errors.FaceGraphError(UNEXPECTED_ERROR),
        errors.Overloaded("256 requests are under way here; try again later"),
        errors.ModelUnavailable("a replica of the graph was lost; try again"),
        errors.DeadlineExceeded("the answer was not ready in time"),
    )
