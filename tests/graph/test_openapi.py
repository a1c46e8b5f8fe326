from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from deployments.errors import FaceGraphError
from graph.http_errors import STATUS
from graph.openapi import describe_api

IMAGE_ERRORS = {"image_too_large", "unsupported_media_type", "invalid_image"}
POST_ERRORS = IMAGE_ERRORS | {
    "invalid_request",
    "unauthorized",
    "request_too_large",
    "overloaded",
    "model_unavailable",
    "deadline_exceeded",
}
FACE_ERRORS = {"face_not_found", "unknown_recognizer"}
ERRORS = {
    ("post", "/v1/detect"): POST_ERRORS,
    ("post", "/v1/embed"): POST_ERRORS | FACE_ERRORS,
    ("post", "/v1/compare"): POST_ERRORS | FACE_ERRORS,
    ("get", "/v1/models"): {"unauthorized"},
    ("get", "/healthz"): set(),
    ("get", "/readyz"): {"model_unavailable"},
}
STATUSES = {
    "invalid_request": 400,
    "unauthorized": 401,
    "image_too_large": 413,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_image": 422,
    "face_not_found": 422,
    "unknown_recognizer": 404,
    "overloaded": 503,
    "model_unavailable": 503,
    "deadline_exceeded": 504,
}


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return describe_api()


def operations(api: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    }


def walk(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of the description."""
    if isinstance(part, dict):
        yield part
    for inner in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from walk(inner)


def test_the_description_is_valid_openapi(api: dict[str, Any]) -> None:
    validate(api)
    assert api["openapi"].startswith("3.1.")


def test_every_route_is_described_and_no_other(api: dict[str, Any]) -> None:
    assert set(operations(api)) == set(ERRORS)


@pytest.mark.parametrize("route", ERRORS)
def test_every_error_of_a_route_is_described_under_its_status(
    api: dict[str, Any], route: tuple[str, str]
) -> None:
    responses = operations(api)[route]["responses"]
    described = {
        code: int(status)
        for status, response in responses.items()
        for code in STATUSES
        if f"`{code}`" in response["description"]
    }
    assert described == {code: STATUSES[code] for code in ERRORS[route]}
    for status in set(responses) - {"200"}:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorResponse"}


def test_the_contracts_codes_have_the_contracts_statuses() -> None:
    assert STATUSES.items() <= STATUS.items()


def test_every_error_that_a_route_raises_has_a_status() -> None:
    codes = {kind.code for kind in FaceGraphError.__subclasses__()}
    assert STATUSES.keys() <= codes
    assert codes - STATUS.keys() <= {"invalid_config"}  # of files, never of requests


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    references = {part["$ref"] for part in walk(api) if "$ref" in part}
    assert references
    for reference in references:
        place: Any = api
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_every_schema_is_used(api: dict[str, Any]) -> None:
    used = {part["$ref"].rpartition("/")[2] for part in walk(api) if "$ref" in part}
    assert used == set(api["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("/v1/detect", {"image"}),
        ("/v1/embed", {"image"}),
        ("/v1/compare", {"source", "target"}),
    ],
)
def test_images_come_as_files_or_as_base64_and_one_alone_as_the_body(
    api: dict[str, Any], path: str, images: set[str]
) -> None:
    operation = api["paths"][path]["post"]
    content = operation["requestBody"]["content"]
    parts = content["multipart/form-data"]["schema"]
    assert set(parts["required"]) == images
    for name in images:
        assert parts["properties"][name] == {"type": "string", "format": "binary"}
    reference = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = api["components"]["schemas"][reference]["properties"]
    for name in images:
        assert fields[name]["contentEncoding"] == "base64"
    raw = {name for name in content if name.startswith("image/")}
    wanted = {"image/jpeg", "image/png", "image/webp", "image/bmp"} if "image" in images else set()
    assert raw == wanted
    in_query = {parameter["name"] for parameter in operation.get("parameters", ())}
    assert in_query == (set(fields) - images if raw else set())


def test_operations_have_names_of_their_own(api: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(api).values()]
    assert sorted(names) == ["compare", "detect", "embed", "healthz", "models", "readyz"]


def test_keys_are_optional_and_come_in_either_header(api: dict[str, Any]) -> None:
    assert api["security"] == [{}, {"bearer": []}, {"key": []}]
    assert set(api["components"]["securitySchemes"]) == {"bearer", "key"}
