"""The API's description (OpenAPI 3.1), generated from the table of routes and their schemas."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployments.errors import FaceGraphError
from graph.bundled import PHOTOS
from graph.gallery_schemas import NDJSON
from graph.http.api_route import ApiRoute
from graph.http.examples import REQUEST_ID, answer_example, error_example, request_example
from graph.http.forms import IMAGE_TYPES, LINES, WITH_BODY, raw_field
from graph.http.routes import ROUTES
from graph.schemas import ErrorResponse

_REF = "#/components/schemas/"
_HEADERS = "#/components/headers/"
_IMAGES = ("image", "source", "target", "images")
_INTRODUCTION = """\
Photos come in; detections, embeddings and similarities come out.

Images are JPEG, PNG, WebP or BMP files, also HEIC and AVIF where the graph has pillow-heif. EXIF
orientation is applied, transparency is laid over white, of an animation the first picture counts.
Coordinates are pixels of the photo as its viewer sees it. Similarity is the raw cosine of two
embeddings. Every error has one form, and every answer carries `x-request-id`.
"""


def describe_api() -> dict[str, Any]:
    """Return the OpenAPI document of all routes in `graph.http.routes`."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
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
            {"name": "galleries", "description": "Persons and their faces; search among them."},
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


def _operation(route: ApiRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            _request_id(),
            *_path_parameters(route),
            *_query_parameters(route),
        ],
        "responses": {"200": _answer(route)} | _failures(route),
    }
    if route.description:
        operation["description"] = route.description
    if not route.needs_key:
        operation["security"] = []
    if route.takes and route.method in WITH_BODY:
        operation["requestBody"] = _body(route, route.takes)
    return operation


def _answer(route: ApiRoute) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.gives:
        content["schema"] = {"$ref": _REF + route.gives.__name__}
        content["example"] = answer_example(route.name)
    return {
        "description": "The answer" if route.gives else "The file",
        "headers": _answer_headers(),
        "content": {route.media_type: content},
    }


def _failures(route: ApiRoute) -> dict[str, Any]:
    """Return the error answers by status, in ascending order."""
    by_status: dict[int, list[type[FaceGraphError]]] = {}
    for kind in route.errors:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): _failure(status, kinds, route.takes)
        for status, kinds in sorted(by_status.items())
    }


def _failure(
    status: int, kinds: list[type[FaceGraphError]], takes: type[BaseModel] | None
) -> dict[str, Any]:
    examples = {
        kind.code: {"summary": _meaning(kind), "value": error_example(kind, takes)}
        for kind in kinds
    }
    content = {"schema": {"$ref": _REF + ErrorResponse.__name__}, "examples": examples}
    return {
        "description": "\n\n".join(f"`{kind.code}`: {_meaning(kind)}" for kind in kinds),
        "headers": _answer_headers(status),
        "content": {"application/json": content},
    }


def _meaning(kind: type[FaceGraphError]) -> str:
    """Return the first line of the class's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _body(route: ApiRoute, takes: type[BaseModel]) -> dict[str, Any]:
    raw = raw_field(takes)
    if raw == LINES:
        return {"required": True, "content": {NDJSON: {}}}
    names = [name for name in _IMAGES if name in takes.model_fields]
    accepted = ", ".join(IMAGE_TYPES)
    schema = _body_schema(route, takes)
    as_json: dict[str, Any] = {"schema": schema if route.in_path else _reference(takes)}
    example = request_example(takes, without=route.in_path)
    if example is not None:
        as_json["example"] = example
    # JSON comes first since it has an example: viewers show the first form.
    content: dict[str, Any] = {
        "application/json": as_json,
        "multipart/form-data": {
            "schema": _multipart(schema, names),
            "encoding": {name: {"contentType": accepted} for name in names},
        },
    }
    if raw:
        content |= {media_type: {} for media_type in IMAGE_TYPES}
        portrait = {"summary": "A bundled photo", "externalValue": f"examples/{PHOTOS[0]}"}
        content["image/jpeg"] = {"examples": {"portrait": portrait}}
    return {"required": bool(schema.get("required") or raw), "content": content}


def _reference(takes: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF + takes.__name__}


def _body_schema(route: ApiRoute, takes: type[BaseModel]) -> dict[str, Any]:
    """Return the form's schema without the fields that the path has."""
    schema = _schema(takes)
    for name in route.in_path:
        del schema["properties"][name]
    required = [name for name in schema.pop("required", []) if name not in route.in_path]
    return schema | ({"required": required} if required else {})


def _schema(takes: type[BaseModel]) -> dict[str, Any]:
    return takes.model_json_schema(ref_template=_REF + "{model}")


def _multipart(schema: dict[str, Any], images: list[str]) -> dict[str, Any]:
    """Return the JSON form's schema with its images as files."""
    properties = _text_fields(schema["properties"])
    file = {"type": "string", "format": "binary", "description": "A JPEG, PNG, WebP or BMP file."}
    for name in images:
        given = properties[name]
        properties[name] = given | {"items": file} if name == "images" else file
    return schema | {"properties": properties}


def _text_fields(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of fields in a form or a query: their values are text, so null goes."""
    schemas = {}
    for name, schema in properties.items():
        choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
        kept = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        if len(choices) == 1:
            del kept["anyOf"]
            kept |= choices[0]
        schemas[name] = kept
    return schemas


def _path_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    fields = _schema(route.takes)["properties"] if route.takes else {}
    schemas = {name: fields.get(name, {"type": "string"}) for name in route.in_path}
    for name, values in route.path_examples.items():
        schemas[name] = schemas[name] | {"examples": list(values)}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in schemas.items()
    ]


def _query_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    """Return the options of a route without a body, or with an image as its raw body."""
    if route.takes is None:
        return []
    raw = raw_field(route.takes)
    if not raw and route.method in WITH_BODY:
        return []
    with_body = {"description": "Here or in the body; with a raw body only here."} if raw else {}
    return [
        {"name": name, "in": "query", **with_body, **_in_query(schema)}
        for name, schema in _text_fields(_schema(route.takes)["properties"]).items()
        if name not in (raw, "embedding", *route.in_path)
    ]


def _in_query(schema: dict[str, Any]) -> dict[str, Any]:
    """An object is JSON in one parameter."""
    if schema.get("type") == "object":
        return {"content": {"application/json": {"schema": schema}}}
    return {"schema": schema}


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
    takes: Any = [
        (route.takes, "validation")
        for route in ROUTES
        if route.takes and not route.in_path and route.method in WITH_BODY
    ]
    gives: Any = [(route.gives, "serialization") for route in ROUTES if route.gives]
    modes = [*takes, *gives, (ErrorResponse, "serialization")]
    definitions: dict[str, Any] = models_json_schema(modes, ref_template=_REF + "{model}")[1]
    return dict(definitions["$defs"])


def _version() -> str:
    try:
        return version("facegraph")
    except PackageNotFoundError:
        return "0"
