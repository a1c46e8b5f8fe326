"""Forms of the routes of galleries: fields of the path, the query and the body together."""

import base64
import json
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from deployments.errors import InvalidRequest, UnsupportedMediaType
from graph.gallery_schemas import (
    EnrolRequest,
    GallerySettings,
    ImportRequest,
    PersonChanges,
    PersonSettings,
    PersonsOptions,
    SearchRequest,
)
from tests.support.form_requests import Body, read, refused, request

PHOTO = b"\xff\xd8 a photo"
TEXT = base64.b64encode(PHOTO).decode()
STAFF = {"gallery": "staff"}
PERSON = STAFF | {"person": "p-1"}


def sent(
    method: str,
    path: dict[str, str],
    fields: dict[str, Any] | None = None,
    *,
    query: str = "",
    body: bytes = b"",
    media_type: str = "",
) -> Request:
    """fields: of a JSON body."""
    if fields is not None:
        body, media_type = json.dumps(fields).encode(), "application/json"
    headers = {"content-type": media_type} if media_type else {}
    headers["content-length"] = str(len(body))
    return request(Body(body, 1000), headers, query=query, method=method, path_params=path)


def fault(form: type[BaseModel], wrong: Request) -> tuple[str, str]:
    error = refused(wrong, InvalidRequest, form)
    return error.details["field"], error.message


def test_a_put_needs_no_body() -> None:
    assert read(sent("PUT", STAFF), GallerySettings) == GallerySettings(gallery="staff")


def test_fields_of_the_path_and_the_body_are_one_form() -> None:
    form = read(sent("PUT", STAFF, {"threshold": 0.4, "policy": "strict"}), GallerySettings)
    assert (form.gallery, form.threshold, form.policy) == ("staff", 0.4, "strict")


def test_the_body_cannot_name_another_gallery() -> None:
    wrong = sent("PUT", STAFF, {"gallery": "guests"})
    assert fault(GallerySettings, wrong) == ("gallery", "gallery: given more than once")


@pytest.mark.parametrize("gallery", ["Staff", "a b", "", "-a", "a" * 64, "a\n"])
def test_a_gallery_has_a_simple_id(gallery: str) -> None:
    assert fault(GallerySettings, sent("PUT", {"gallery": gallery}))[0] == "gallery"


def test_a_get_takes_its_options_from_the_query() -> None:
    asked = sent("GET", STAFF, query='limit=7&cursor=abc&filter={"team":"night","shift":3}')
    assert read(asked, PersonsOptions) == PersonsOptions(
        gallery="staff", limit=7, cursor="abc", filter={"team": "night", "shift": 3}
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=5000", "limit"), ("filter=night", "filter"), ("page=2", "page")],
)
def test_a_wrong_option_in_a_query_is_named(query: str, field: str) -> None:
    assert fault(PersonsOptions, sent("GET", STAFF, query=query))[0] == field


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"a": {"b": 1}}, "metadata.a"),
        ({"a": None}, "metadata.a"),
        ({"a": "x" * 1025}, "metadata.a"),
        ({"a": "nul\0"}, "metadata.a"),
        ({"": 1}, "metadata..[key]"),
        ({str(index): index for index in range(65)}, "metadata"),
        (["a"], "metadata"),
    ],
)
def test_metadata_are_few_short_values_by_name(metadata: Any, field: str) -> None:
    named, _ = fault(PersonSettings, sent("POST", STAFF, {"metadata": metadata}))
    assert named == field


def test_metadata_keep_their_types() -> None:
    given = {"team": "night", "floor": 3, "weight": 0.5, "active": True}
    form = read(sent("POST", STAFF, {"metadata": given}), PersonSettings)
    assert [(value, type(value)) for value in form.metadata.values()] == [
        ("night", str),
        (3, int),
        (0.5, float),
        (True, bool),
    ]


def test_a_time_needs_an_offset() -> None:
    wrong = sent("POST", STAFF, {"expires_at": "2127-01-31T12:00:00"})
    assert fault(PersonSettings, wrong)[0] == "expires_at"


def test_null_takes_a_value_away_and_a_missing_field_leaves_it() -> None:
    form = read(sent("PATCH", PERSON, {"name": None}), PersonChanges)
    assert form.model_fields_set == {"gallery", "person", "name"}


def test_several_photos_come_as_a_list_as_parts_or_one_as_the_body() -> None:
    two = read(sent("POST", PERSON, {"images": [TEXT, TEXT]}), EnrolRequest)
    assert two.images == [PHOTO, PHOTO]
    one = read(sent("POST", PERSON, {"images": TEXT}), EnrolRequest)
    alone = read(sent("POST", PERSON, body=PHOTO, media_type="image/jpeg"), EnrolRequest)
    assert one.images == alone.images == [PHOTO]
    boundary = "multipart/form-data; boundary=x"
    part = b'--x\r\ncontent-disposition: form-data; name="images"; filename="a"\r\n\r\n'
    body = (part + PHOTO + b"\r\n") * 3 + b"--x--\r\n"
    assert read(sent("POST", PERSON, body=body, media_type=boundary), EnrolRequest).images == (
        [PHOTO] * 3
    )


def test_more_than_32_photos_are_refused() -> None:
    assert fault(EnrolRequest, sent("POST", PERSON, {"images": [TEXT] * 33}))[0] == "images"
    assert fault(EnrolRequest, sent("POST", PERSON, {"images": []}))[0] == "images"


def test_a_search_takes_a_photo_or_an_embedding() -> None:
    vector = [0.5] * 512
    assert read(sent("POST", STAFF, {"embedding": vector}), SearchRequest).embedding == vector
    assert read(sent("POST", STAFF, {"image": TEXT}), SearchRequest).image == PHOTO
    for wrong in ({}, {"image": TEXT, "embedding": vector}):
        assert (
            "expected a photo, or `embedding`"
            in fault(SearchRequest, sent("POST", STAFF, wrong))[1]
        )


@pytest.mark.parametrize("embedding", [[], [0.5] * 4097, ["a"] * 512, "0.5", [[0.5] * 512]])
def test_an_embedding_is_up_to_4096_numbers(embedding: Any) -> None:
    named, _ = fault(SearchRequest, sent("POST", STAFF, {"embedding": embedding}))
    assert named.startswith("embedding")


def test_an_import_takes_lines_and_nothing_else() -> None:
    lines = b'{"person": "p-1"}\n'
    taken = sent("POST", STAFF, body=lines, media_type="application/x-ndjson")
    assert read(taken, ImportRequest).lines == lines
    error = refused(sent("POST", STAFF, {"lines": "a"}), UnsupportedMediaType, ImportRequest)
    assert "send application/x-ndjson" in error.message
