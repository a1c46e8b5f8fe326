"""The API's description (OpenAPI 3.1), generated from the schemas."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployments import errors
from graph.bundled import PHOTOS
from graph.http.errors import STATUS
from graph.http.examples import REQUEST_ID, answer_example, error_example, request_example
from graph.http.forms import IMAGE_TYPES
from graph.http.routes import ROUTES, DescribedRoute
from graph.schemas import ErrorResponse

_REF = "#/components/schemas/"
_HEADERS = "#/components/headers/"
_IMAGES = ("image", "source", "target")
_INTRODUCTION = """\
Photos come in; detections, embeddings and similarities come out.

Images are JPEG, PNG, WebP or BMP files. EXIF orientation is applied, transparency is laid over
white, of an animation the first picture counts. Coordinates are pixels of the photo as its viewer
sees it. Similarity is the raw cosine of two embeddings. Every error has one form, and every answer
carries `x-request-id`.
"""


def describe_api() -> dict[str, Any]:
    paths = {route.path: _path(route) for route in ROUTES} | _pages()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FaceGraph",
            "version": _version(),
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Resolved against this document's own address, so that a route prefix needs no mention.
        "servers": [{"url": "."}],
        "tags": [
            {"name": "faces", "description": "Detection, embeddings, comparison."},
            {"name": "health", "description": "Probes; they need no key."},
            {"name": "pages", "description": "The demo page and this description; no key either."},
        ],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": _headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _path(route: DescribedRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": route.description,
        "tags": [route.tag],
        "parameters": [_request_id(), *_query_parameters(route.takes)],
        "responses": {"200": _answer(route)} | _failures(route.codes, route.takes),
    }
    if route.tag == "health":
        operation["security"] = []
    if route.takes is None:
        return {"get": operation}
    return {"post": operation | {"requestBody": _body(route.takes)}}


def _answer(route: DescribedRoute) -> dict[str, Any]:
    content = {
        "schema": {"$ref": _REF + route.gives.__name__},
        "example": answer_example(route.path),
    }
    return {
        "description": "The answer",
        "headers": _answer_headers(),
        "content": {"application/json": content},
    }


def _failures(codes: tuple[str, ...], takes: type[BaseModel] | None) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        str(status): _failure(status, names, takes) for status, names in sorted(by_status.items())
    }


def _failure(status: int, codes: list[str], takes: type[BaseModel] | None) -> dict[str, Any]:
    examples = {
        code: {"summary": _meaning(code), "value": error_example(code, takes)} for code in codes
    }
    content = {"schema": {"$ref": _REF + ErrorResponse.__name__}, "examples": examples}
    return {
        "description": "\n\n".join(f"`{code}`: {_meaning(code)}" for code in codes),
        "headers": _answer_headers(status),
        "content": {"application/json": content},
    }


def _meaning(code: str) -> str:
    known = {kind.code: kind.__doc__ for kind in reversed(errors.FaceGraphError.__subclasses__())}
    return (_OTHER_ERRORS.get(code) or known[code] or "").strip()


_OTHER_ERRORS = {
    "internal": "The graph failed in a way that nobody foresaw.",
    "not_found": "There is nothing of that name.",
}


def _body(takes: type[BaseModel]) -> dict[str, Any]:
    names = [name for name in _IMAGES if name in takes.model_fields]
    accepted = ", ".join(IMAGE_TYPES)
    as_json: dict[str, Any] = {"schema": {"$ref": _REF + takes.__name__}}
    example = request_example(takes)
    if example:
        as_json["example"] = example
    # The form that has an example comes first: viewers show that one.
    content: dict[str, Any] = {
        "application/json": as_json,
        "multipart/form-data": {
            "schema": _multipart(takes, names),
            "encoding": {name: {"contentType": accepted} for name in names},
        },
    }
    if "image" in names:
        content |= {media_type: {} for media_type in IMAGE_TYPES}
        portrait = {"summary": "A bundled photo", "externalValue": f"examples/{PHOTOS[0]}"}
        content["image/jpeg"] = {"examples": {"portrait": portrait}}
    return {"required": True, "content": content}


def _multipart(takes: type[BaseModel], images: list[str]) -> dict[str, Any]:
    """The JSON form's schema with its images as files."""
    schema = takes.model_json_schema(ref_template=_REF + "{model}")
    schema["properties"] = _texts(schema["properties"])
    for name in images:
        schema["properties"][name] = {
            "type": "string",
            "format": "binary",
            "description": "A JPEG, PNG, WebP or BMP file.",
        }
    return schema


def _texts(properties: dict[str, Any]) -> dict[str, Any]:
    """The same fields where only text can be written: what has no value is left out."""
    schemas = {}
    for name, schema in properties.items():
        choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
        kept = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        if len(choices) == 1:
            del kept["anyOf"]
            kept |= choices[0]
        schemas[name] = kept
    return schemas


def _query_parameters(takes: type[BaseModel] | None) -> list[dict[str, Any]]:
    """The options of a route that takes an image as its raw body."""
    if takes is None or "image" not in takes.model_fields:
        return []
    properties = _texts(takes.model_json_schema(ref_template=_REF + "{model}")["properties"])
    return [
        {
            "name": name,
            "in": "query",
            "description": "Here or in the body; with an image as the raw body only here.",
            "schema": schema,
        }
        for name, schema in properties.items()
        if name != "image"
    ]


def _pages() -> dict[str, Any]:
    photo = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "examples": list(PHOTOS)},
    }
    pages: tuple[tuple[str, str, str, str, list[Any]], ...] = (
        ("/", "page", "The demo page", "text/html", []),
        ("/docs", "docs", "This description, to read and to try", "text/html", []),
        ("/openapi.json", "openapi", "This description", "application/json", []),
        ("/examples/{name}", "example", "A bundled photo", "image/jpeg", [photo]),
    )
    return {
        path: {
            "get": {
                "operationId": name,
                "summary": summary,
                "tags": ["pages"],
                "security": [],
                "parameters": [_request_id(), *parameters],
                "responses": _page_responses(media_type, parameters),
            }
        }
        for path, name, summary, media_type, parameters in pages
    }


def _page_responses(media_type: str, parameters: list[Any]) -> dict[str, Any]:
    found = {
        "description": "The file",
        "headers": _answer_headers(),
        "content": {media_type: {}},
    }
    return {"200": found} | (_failures(("not_found",), None) if parameters else {})


def _request_id() -> dict[str, Any]:
    return {
        "name": "x-request-id",
        "in": "header",
        "description": "The client's own id of this request; a new one is made where there is"
        " none. Logs and the answer carry it.",
        "schema": {"type": "string", "examples": [REQUEST_ID]},
    }


def _answer_headers(status: int = 200) -> dict[str, Any]:
    names = ["x-request-id"]
    names += {401: ["www-authenticate"], 503: ["retry-after"]}.get(status, [])
    return {name: {"$ref": _HEADERS + name} for name in names}


def _headers() -> Mapping[str, Any]:
    return {
        "x-request-id": {
            "description": "The request's id.",
            "required": True,
            "schema": {"type": "string"},
            "example": REQUEST_ID,
        },
        "retry-after": {
            "description": "Seconds to wait before another try.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "example": 1,
        },
        "www-authenticate": {
            "description": "The scheme of the key that is missing.",
            "required": True,
            "schema": {"type": "string"},
            "example": "Bearer",
        },
    }


def _schemas() -> dict[str, Any]:
    takes: Any = [(route.takes, "validation") for route in ROUTES if route.takes]
    gives: Any = [(route.gives, "serialization") for route in ROUTES]
    modes = [*takes, *gives, (ErrorResponse, "serialization")]
    definitions: dict[str, Any] = models_json_schema(modes, ref_template=_REF + "{model}")[1]
    return dict(definitions["$defs"])


def _version() -> str:
    try:
        return version("facegraph")
    except PackageNotFoundError:
        return "0"
