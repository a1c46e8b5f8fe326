"""Contract tests: the running graph answers as its OpenAPI description says."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from graph.bundled import PHOTOS
from graph.http.api_route import ApiRoute
from graph.http.examples import answer_example, request_example
from graph.http.ingress import Ingress
from graph.http.openapi import describe_api
from graph.http.routes import ROUTES
from tests.graph.http.test_errors import blank_jpeg, giant_png
from tests.support.colour_images import encoded
from tests.support.photos import YAOMING, photo, photo_bytes
from tests.support.record_examples import rounded

API = describe_api()
# Those of galleries have tests of their own, as their answers depend on those before.
ANSWERING = [route for route in ROUTES if route.gives and not route.scopes]
POSTS = [route for route in ROUTES if route.takes and not route.scopes]
DOCUMENTED = [route for route in ROUTES if route.gives]  # the others send a file
FIELDS = {"/v1/detect": ["image"], "/v1/embed": ["image"], "/v1/compare": ["source", "target"]}
OPTIONS = {
    "faces": "all",
    "recognizers": "arcface,second",
    "threshold": "0.4",
    "source_face": "0",
    "liveness": "false",
}
UNSERVED = {"attributes"}  # by the session's graph, which has no classifiers
PILLOW_FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WebP",
    "image/bmp": "BMP",
    "image/heic": "HEIF",
    "image/avif": "AVIF",
}
by_path = pytest.mark.parametrize("route", ANSWERING, ids=lambda route: route.path)
by_post = pytest.mark.parametrize("route", POSTS, ids=lambda route: route.path)


def described(route: ApiRoute) -> dict[str, Any]:
    operation: dict[str, Any] = API["paths"][route.path][route.method.lower()]
    return operation


def check(schema: dict[str, Any], value: Any) -> None:
    """Fail unless the value fits a schema of the description."""
    Draft202012Validator(schema | {"components": API["components"]}).validate(value)


def check_answer(answer: httpx.Response, operation: dict[str, Any]) -> Any:
    """Check status, media type, headers and body against the description; return the body."""
    response = operation["responses"][str(answer.status_code)]
    for header in response["headers"]:
        schema = API["components"]["headers"][header]["schema"]
        value = answer.headers[header]
        check(schema, int(value) if schema["type"] == "integer" else value)
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = response["content"][media_type].get("schema")
    body = answer.json() if media_type == "application/json" else answer.content
    if schema:
        check(schema, body)
    return body


def test_every_route_of_the_application_is_described_and_no_other() -> None:
    ingress: Any = Ingress.func_or_class.__mro__[1]  # type: ignore[attr-defined]  # without Serve
    routes = object.__new__(ingress)._routes()
    served = {
        (route.path, method.lower())
        for route in routes
        for method in set(route.methods) - {"HEAD"}
        if not route.path.startswith(("/page/", "/viewer/"))  # files of the two pages
    }
    assert served == {
        (path, method) for path, methods in API["paths"].items() for method in methods
    }


def test_the_running_graph_answers_this_description(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == API


@by_path
def test_a_documented_request_has_the_documented_answer(
    http: httpx.Client, route: ApiRoute
) -> None:
    if route.takes:
        answer = http.post(route.path, json=request_example(route.takes))
    else:
        answer = http.get(route.path)
    assert answer.status_code == 200
    body = check_answer(answer, described(route))
    check_like(rounded(body), answer_example(route.name))


def check_like(answer: Any, example: Any, name: str = "") -> None:
    """Compare an answer with its recorded example: values that vary by machine or moment need only
    the same type, and pools that only the tests have are ignored."""
    if name in ("start_ms", "duration_ms", "replicas", "precision", "reason"):
        assert isinstance(answer, type(example))
    elif isinstance(example, dict):
        assert answer.keys() >= example.keys()
        for key, value in example.items():
            check_like(answer[key], value, key)
    elif name == "models":
        entries = {entry["deployment"]: entry for entry in answer}
        for entry in example:
            check_like(entries[entry["deployment"]], entry)
    elif name == "timings":
        assert sorted(str((span["stage"], span["image"])) for span in answer) == sorted(
            str((span["stage"], span["image"])) for span in example
        )
    elif isinstance(example, list):
        assert len(answer) == len(example)
        for mine, recorded in zip(answer, example, strict=True):
            check_like(mine, recorded, name)
    elif isinstance(example, float):
        wide = 0.5 if name in ("box", "landmarks") else 0.02
        assert answer == pytest.approx(example, abs=wide)
    else:
        assert answer == example


@pytest.mark.parametrize("route", DOCUMENTED, ids=lambda route: route.name)
def test_documented_answers_fit_their_schemas(route: ApiRoute) -> None:
    for response in described(route)["responses"].values():
        content = response["content"][route.media_type]
        values = [item["value"] for item in content.get("examples", {}).values()]
        for value in values or [content["example"]]:
            check(content["schema"], value)


@by_post
def test_documented_requests_fit_their_schemas(route: ApiRoute) -> None:
    content = described(route)["requestBody"]["content"]["application/json"]
    check(content["schema"], content["example"])


@by_post
def test_every_field_of_the_multipart_form_is_taken(http: httpx.Client, route: ApiRoute) -> None:
    properties = described(route)["requestBody"]["content"]["multipart/form-data"]["schema"][
        "properties"
    ]
    files = {
        name: ("photo.jpg", photo_bytes(YAOMING))
        for name, schema in properties.items()
        if schema.get("format") == "binary"
    }
    assert list(files) == FIELDS[route.path]
    data = {name: OPTIONS[name] for name in properties if name not in {*files, *UNSERVED}}
    answer = http.post(route.path, files=files, data=data)
    assert answer.status_code == 200
    check_answer(answer, described(route))


@by_post
def test_every_kind_of_image_is_taken_as_the_body_with_every_query_parameter(
    http: httpx.Client, route: ApiRoute
) -> None:
    operation = described(route)
    kinds = [kind for kind in operation["requestBody"]["content"] if kind.startswith("image/")]
    parameters = [item["name"] for item in operation["parameters"] if item["in"] == "query"]
    assert bool(kinds) == ("image" in FIELDS[route.path])
    picture = Image.fromarray(photo(YAOMING)[:, :, ::-1])
    for kind in kinds:
        content = encoded(picture, PILLOW_FORMATS[kind])
        query = {name: OPTIONS[name] for name in parameters if name not in UNSERVED}
        headers = {"content-type": kind, "x-request-id": "mine"}
        answer = http.post(route.path, content=content, params=query, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == "mine"
        check_answer(answer, operation)


def provocations() -> Iterator[tuple[ApiRoute, str, dict[str, Any], bool]]:
    """Yield each error that a single request can cause: route, code, request, and True if only the
    graph with strict limits answers with it."""
    photos = {
        "unsupported_media_type": b"GIF89a" + bytes(100),
        "invalid_image": b"no photo",
        "image_too_large": giant_png(),
        "face_not_found": blank_jpeg(),
    }
    whole = photo_bytes(YAOMING)
    for route in POSTS:
        fields = FIELDS[route.path]
        good = {name: ("photo.jpg", whole) for name in fields}
        codes = [kind.code for kind in route.errors]
        for code in codes:
            if code in photos:
                yield route, code, {"files": good | {fields[-1]: ("photo", photos[code])}}, False
        yield route, "invalid_request", {"json": {}}, False
        yield route, "unauthorized", {"headers": {"authorization": ""}}, True
        yield route, "request_too_large", {"files": {fields[0]: bytes(200_000)}}, True
        yield route, "deadline_exceeded", {"files": good}, True
        if "unknown_recognizer" in codes:
            data = {"recognizers": "nobody"}
            yield route, "unknown_recognizer", {"files": good, "data": data}, False
        if "unknown_classifier" in codes:
            data = {"attributes": "nobody"}
            yield route, "unknown_classifier", {"files": good, "data": data}, False
        if "liveness_disabled" in codes:
            data = {"liveness": "true"}
            yield route, "liveness_disabled", {"files": good, "data": data}, False


@pytest.mark.parametrize(
    ("route", "code", "request_", "strictly"),
    [pytest.param(*case, id=f"{case[0].name}-{case[1]}") for case in provocations()],
)
def test_an_error_is_answered_as_its_example_says(
    http: httpx.Client,
    strict: httpx.Client,
    route: ApiRoute,
    code: str,
    request_: dict[str, Any],
    strictly: bool,
) -> None:
    answer = (strict if strictly else http).post(route.path, **request_)
    body = check_answer(answer, described(route))
    response = described(route)["responses"][str(answer.status_code)]
    example = response["content"]["application/json"]["examples"][code]["value"]
    assert body["error"]["code"] == code
    assert body["error"]["details"].keys() == example["error"]["details"].keys()
    assert without_values(body["error"]["message"]) == without_values(example["error"]["message"])


def without_values(message: str) -> str:
    """The message without limits and pools, which depend on the configuration."""
    return re.sub(r"\d+|this graph has .*", "...", message)


@pytest.mark.parametrize("path", ["/", "/docs", "/examples/{name}"])
def test_pages_are_what_the_description_says(http: httpx.Client, path: str) -> None:
    operation = API["paths"][path]["get"]
    for name in PHOTOS if "{name}" in path else [""]:
        answer = http.get(path.format(name=name))
        assert answer.status_code == 200
        check_answer(answer, operation)
        again = http.get(path.format(name=name), headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304


def test_only_bundled_photos_are_served_as_examples(http: httpx.Client) -> None:
    for name, problem in (
        ("nobody.jpg", "there is nothing of that name"),
        ("w600k_mbf.onnx", "there is nothing of that name"),
        ("..%2f..%2fconftest.py", "there is no such route"),
    ):
        answer = http.get(f"/examples/{name}")
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], problem in error["message"]) == ("not_found", True)


def test_the_photo_that_the_description_refers_to_is_there(http: httpx.Client) -> None:
    content = API["paths"]["/v1/detect"]["post"]["requestBody"]["content"]["image/jpeg"]
    (example,) = content["examples"].values()
    image = http.get("/" + example["externalValue"])
    headers = {"content-type": image.headers["content-type"]}
    answer = http.post("/v1/detect", content=image.content, headers=headers)
    assert len(answer.json()["faces"]) == 1
