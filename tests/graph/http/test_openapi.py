"""The OpenAPI description has exactly the routes and errors of ROUTES, and no dead reference."""

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from deployments.errors import (
    PHOTO_ERRORS,
    FaceGraphError,
    FaceNotFound,
    InvalidConfig,
    InvalidWeights,
    RoutingError,
    UnexpectedAnswer,
)
from graph.http.api_route import ApiRoute
from graph.http.openapi import describe_api
from graph.http.routes import ROUTES
from tests.support.errors import ANSWERED, STATUS

by_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return describe_api()


def operations(api: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    }


def responses_of(api: dict[str, Any], route: ApiRoute) -> dict[str, Any]:
    responses: dict[str, Any] = operations(api)[route.method, route.path]["responses"]
    return responses


def walk(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the description."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        yield from walk(inner)


def test_the_description_is_valid_openapi(api: dict[str, Any]) -> None:
    validate(api)
    assert api["openapi"].startswith("3.1.")


def test_every_route_is_described_and_no_other(api: dict[str, Any]) -> None:
    assert list(operations(api)) == [(route.method, route.path) for route in ROUTES]


@by_route
def test_every_error_of_a_route_is_described_under_its_status(
    api: dict[str, Any], route: ApiRoute
) -> None:
    responses = responses_of(api, route)
    described = {
        code: int(status)
        for status, response in responses.items()
        for code in STATUS
        if f"`{code}`" in response["description"]
    }
    assert described == {kind.code: kind.status for kind in route.errors}
    for status in set(responses) - {"200"}:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorResponse"}


# Codes and statuses themselves are held against the table in docs/http.md, the API's contract.
def test_every_error_that_a_request_can_cause_is_in_a_routes_list() -> None:
    others = {InvalidConfig, InvalidWeights, UnexpectedAnswer, RoutingError}
    assert set(errors_below(FaceGraphError)) - ANSWERED == others
    assert STATUS["model_unavailable"] == InvalidWeights.status  # the code is the same


def errors_below(kind: type[FaceGraphError]) -> Iterator[type[FaceGraphError]]:
    for below in kind.__subclasses__():
        if below.__module__ == FaceGraphError.__module__:
            yield below
            yield from errors_below(below)


def test_a_photo_without_a_face_is_an_error_only_where_a_face_is_needed() -> None:
    needing = {route.path for route in ROUTES if FaceNotFound in route.errors}
    gallery = "/v1/galleries/{gallery}"
    searching = {f"{gallery}/search", f"{gallery}/persons/{{person}}/verify"}
    assert needing == {"/v1/embed", "/v1/compare"} | searching


def test_photo_errors_are_4xx_and_listed_by_every_route_that_needs_a_face() -> None:
    assert {kind.status // 100 for kind in PHOTO_ERRORS} == {4}
    for route in ROUTES:
        assert FaceNotFound not in route.errors or set(PHOTO_ERRORS) <= set(route.errors)


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
    wanted = ("jpeg", "png", "webp", "bmp", "heic", "avif") if "image" in images else ()
    assert raw == {f"image/{name}" for name in wanted}
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


def test_the_api_proper_needs_a_key_and_nothing_else_does(api: dict[str, Any]) -> None:
    for (_, path), operation in operations(api).items():
        assert operation.get("security") == (None if path.startswith("/v1/") else [])


def test_every_answer_has_its_request_id_and_the_header_that_its_status_needs(
    api: dict[str, Any],
) -> None:
    needed = {"401": "www-authenticate", "503": "retry-after"}
    for operation in operations(api).values():
        for status, response in operation["responses"].items():
            assert "x-request-id" in response["headers"]
            assert needed.get(status, "x-request-id") in response["headers"]


@by_route
def test_every_error_has_an_example_of_its_own(api: dict[str, Any], route: ApiRoute) -> None:
    examples = [
        name
        for status, response in responses_of(api, route).items()
        if status != "200"
        for name, example in response["content"]["application/json"]["examples"].items()
        if example["value"]["error"]["code"] == name
    ]
    assert sorted(examples) == sorted(kind.code for kind in route.errors)
