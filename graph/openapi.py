"""The API's description (OpenAPI 3.1), generated from the schemas."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployments import errors
from graph.forms import IMAGE_TYPES
from graph.http_errors import STATUS
from graph.schemas import (
    CompareRequest,
    CompareResponse,
    DetectRequest,
    DetectResponse,
    EmbedRequest,
    EmbedResponse,
    ErrorResponse,
    HealthResponse,
    ModelsResponse,
    ReadyResponse,
)

_REF = "#/components/schemas/"
_POSTS: list[tuple[str, str, type[BaseModel], type[BaseModel], bool]] = [
    ("/v1/detect", "Find every face of a photo", DetectRequest, DetectResponse, False),
    ("/v1/embed", "Embed a photo's faces", EmbedRequest, EmbedResponse, True),
    ("/v1/compare", "Compare the faces of two photos", CompareRequest, CompareResponse, True),
]
_GETS: list[tuple[str, str, type[BaseModel]]] = [
    ("/v1/models", "The models served now", ModelsResponse),
    ("/healthz", "The ingress is alive", HealthResponse),
    ("/readyz", "Every stage has a replica that answers", ReadyResponse),
]
_COMMON_ERRORS = ("unauthorized", "overloaded")
_POST_ERRORS = (
    "invalid_request",
    "request_too_large",
    "image_too_large",
    "unsupported_media_type",
    "invalid_image",
    "model_unavailable",
    "deadline_exceeded",
)
_FACE_ERRORS = ("face_not_found", "unknown_recognizer")


def describe_api() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, summary, takes, gives, wants_face in _POSTS:
        wanted = (*_COMMON_ERRORS, *_POST_ERRORS, *(_FACE_ERRORS if wants_face else ()))
        paths[path] = {"post": _post(path, summary, takes, gives, wanted)}
    for path, summary, answer in _GETS:
        codes = ("unauthorized",) if path.startswith("/v1") else ("model_unavailable",)
        paths[path] = {"get": _operation(path, summary, answer, () if "health" in path else codes)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "FaceGraph", "version": _version()},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _post(
    path: str,
    summary: str,
    takes: type[BaseModel],
    gives: type[BaseModel],
    codes: tuple[str, ...],
) -> dict[str, Any]:
    schema = {"$ref": _REF + takes.__name__}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": _multipart(takes)},
        "application/json": {"schema": schema},
    }
    operation = _operation(path, summary, gives, codes)
    if "image" in takes.model_fields:
        content |= {media_type: {} for media_type in IMAGE_TYPES}
        operation["parameters"] = _query_parameters(takes)
    return operation | {"requestBody": {"required": True, "content": content}}


def _operation(
    path: str, summary: str, gives: type[BaseModel], codes: tuple[str, ...]
) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], []).append(code)
    failures = {str(status): _failure(names) for status, names in sorted(by_status.items())}
    answer = {"description": "The answer", "content": _json_of(gives)}
    return {
        "operationId": path.strip("/").replace("/", "_").replace("v1_", ""),
        "summary": summary,
        "responses": {"200": answer} | failures,
    }


def _failure(codes: list[str]) -> dict[str, Any]:
    known = {kind.code: kind for kind in errors.FaceGraphError.__subclasses__()}
    words = [f"`{code}`: {(known[code].__doc__ or '').strip()}" for code in codes]
    return {"description": "\n\n".join(words), "content": _json_of(ErrorResponse)}


def _json_of(schema: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF + schema.__name__}}}


def _multipart(takes: type[BaseModel]) -> dict[str, Any]:
    """The JSON form's schema with its images as files."""
    schema = takes.model_json_schema(ref_template=_REF + "{model}")
    for name in ("image", "source", "target"):
        if name in schema["properties"]:
            schema["properties"][name] = {"type": "string", "format": "binary"}
    return schema


def _query_parameters(takes: type[BaseModel]) -> list[dict[str, Any]]:
    properties = takes.model_json_schema(ref_template=_REF + "{model}")["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "description": "With an image as the raw body.",
            "schema": schema,
        }
        for name, schema in properties.items()
        if name != "image"
    ]


def _schemas() -> dict[str, Any]:
    takes = [(entry[2], "validation") for entry in _POSTS]
    gives = [entry[3] for entry in _POSTS] + [entry[2] for entry in _GETS] + [ErrorResponse]
    modes: Any = takes + [(schema, "serialization") for schema in dict.fromkeys(gives)]
    definitions: dict[str, Any] = models_json_schema(modes, ref_template=_REF + "{model}")[1]
    return dict(definitions["$defs"])


def _version() -> str:
    try:
        return version("facegraph")
    except PackageNotFoundError:
        return "0"
