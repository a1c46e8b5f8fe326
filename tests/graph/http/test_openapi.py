from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from deployments.errors import FaceGraphError
from graph.http.errors import STATUS
from graph.http.openapi import describe_api

IMAGE_ERRORS = {"image_too_large", "unsupported_media_type", "invalid_image"}
POST_ERRORS = IMAGE_ERRORS | {
    "invalid_request",
    "unauthorized",
    "request_too_large",
    "overloaded",
    "model_unavailable",
    "deadline_exceeded",
    "internal",
}
FACE_ERRORS = {"face_not_found", "unknown_recognizer"}
ERRORS = {
    ("post", "/v1/detect"): POST_ERRORS,
    ("post", "/v1/embed"): POST_ERRORS | FACE_ERRORS,
    ("post", "/v1/compare"): POST_ERRORS | FACE_ERRORS,
    ("get", "/v1/models"): {"unauthorized", "internal", "overloaded"},
    ("get", "/healthz"): set(),
    ("get", "/readyz"): {"model_unavailable"},
    ("get", "/"): set(),
    ("get", "/docs"): set(),
    ("get", "/openapi.json"): set(),
    ("get", "/examples/{name}"): {"not_found"},
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
ALL_STATUSES = STATUSES | {"not_found": 404, "internal": 500}


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
        for code in ALL_STATUSES
        if f"`{code}`" in response["description"]
    }
    assert described == {code: ALL_STATUSES[code] for code in ERRORS[route]}
    for status in set(responses) - {"200"}:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorResponse"}


def test_the_contracts_codes_have_the_contracts_statuses() -> None:
    assert ALL_STATUSES.items() <= STATUS.items()


def test_every_error_that_a_route_raises_has_a_status() -> None:
    codes = {kind.code for kind in FaceGraphError.__subclasses__()}
    assert STATUSES.keys() <= codes
    assert codes - STATUS.keys() <= {"invalid_config", "unexpected_answer"}  # no server answers


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    references = {part["$ref"] for part in walk(api) if "$ref" in part}
    assert references
    for reference in references:
        place: Any = api
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_every_schema_is_used(api: dict[str, Any]) -> None:
    used = {part["$ref"] for part in walk(api) if "$ref" in part}
    kinds = ("schemas", "headers")
    there = {f"#/components/{kind}/{name}" for kind in kinds for name in api["components"][kind]}
    assert used == there


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
        part = parts["properties"][name]
        assert (part["type"], part["format"]) == ("string", "binary")
        assert "image/webp" in content["multipart/form-data"]["encoding"][name]["contentType"]
    reference = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = api["components"]["schemas"][reference]["properties"]
    for name in images:
        assert fields[name]["contentEncoding"] == "base64"
    raw = {name for name in content if name.startswith("image/")}
    wanted = {"image/jpeg", "image/png", "image/webp", "image/bmp"} if "image" in images else set()
    assert raw == wanted
    parameters = operation["parameters"]
    in_query = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert in_query == (set(fields) - images if raw else set())


def test_operations_have_names_of_their_own(api: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(api).values()]
    assert len(set(names)) == len(names)
    assert {"compare", "detect", "embed", "healthz", "models", "readyz"} <= set(names)


def test_keys_are_optional_and_come_in_either_header(api: dict[str, Any]) -> None:
    assert api["security"] == [{}, {"bearer": []}, {"key": []}]
    assert set(api["components"]["securitySchemes"]) == {"bearer", "key"}


def test_only_the_faces_ask_for_a_key(api: dict[str, Any]) -> None:
    for (_, path), operation in operations(api).items():
        assert operation.get("security") == (None if path.startswith("/v1/") else [])


def test_every_answer_tells_its_request_id_and_what_to_do_next(api: dict[str, Any]) -> None:
    needed = {"401": "www-authenticate", "503": "retry-after"}
    for operation in operations(api).values():
        for status, response in operation["responses"].items():
            assert "x-request-id" in response["headers"]
            assert needed.get(status, "x-request-id") in response["headers"]


def test_every_error_has_an_example_of_its_own(api: dict[str, Any]) -> None:
    for route, codes in ERRORS.items():
        responses = operations(api)[route]["responses"]
        examples = [
            name
            for status, response in responses.items()
            if status != "200"
            for name, example in response["content"]["application/json"]["examples"].items()
            if example["value"]["error"]["code"] == name
        ]
        assert sorted(examples) == sorted(codes)
