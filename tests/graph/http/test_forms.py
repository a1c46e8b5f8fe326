"""Requests in every encoding, and the errors of those that cannot be parsed."""

import base64
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from deployments.errors import InvalidRequest, UnsupportedMediaType
from graph.schemas import CompareRequest, DetectRequest, EmbedRequest, validate
from tests.support.form_requests import Body, json_request, multipart, raw, read, refused, request

A, B = b"\xff\xd8 first", b"\xff\xd8 second"
TEXT_A, TEXT_B = base64.b64encode(A).decode(), base64.b64encode(B).decode()
BOUNDARY = "multipart/form-data; boundary=x"
BOTH = {"source": TEXT_A, "target": TEXT_B}


def fault(sent: Request, form: type[BaseModel] = CompareRequest) -> tuple[str, str]:
    """Return the first field at fault, and the message."""
    error = refused(sent, InvalidRequest, form)
    return error.details["field"], error.message


def test_json_carries_images_as_base64_or_data_urls() -> None:
    fields = {
        "source": f"data:image/jpeg;base64,{TEXT_A}",
        "target": f"{TEXT_B[:8]}\r\n{TEXT_B[8:]}",
        "threshold": 0.25,
        "recognizers": ["a", "b"],
        "faces": "all",
    }
    assert read(json_request(fields), CompareRequest) == CompareRequest(
        source=A, target=B, threshold=0.25, recognizers=["a", "b"], faces="all"
    )


def test_an_option_left_out_has_its_default() -> None:
    form = read(json_request(BOTH), CompareRequest)
    assert (form.recognizers, form.threshold, form.faces) == (None, None, "largest")


def test_multipart_carries_files_and_text_in_pieces_of_any_size() -> None:
    for piece in (1, 7, 1000):
        sent, _ = multipart(
            ("source", ("a.jpg", A)),
            ("target", TEXT_B),
            ("threshold", "-0.5"),
            ("recognizers", "a"),
            ("recognizers", "b, a"),
            piece=piece,
        )
        form = read(sent, CompareRequest)
        assert (form.source, form.target) == (A, B)
        assert (form.threshold, form.recognizers) == (-0.5, ["a", "b"])


def test_a_large_file_arrives_whole() -> None:
    content = bytes(range(256)) * 8192  # 2 MB: Starlette's parser would write it to the disk
    sent, _ = multipart(("image", ("a.png", content)), piece=65_536)
    assert read(sent, DetectRequest).image == content


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "IMAGE/WebP", "image/bmp; q=1"])
def test_one_image_may_be_the_raw_body_with_the_options_in_the_query(media_type: str) -> None:
    sent = raw(A, media_type, "recognizers=a,b&recognizers=c&faces=all")
    form = read(sent, EmbedRequest)
    assert (form.image, form.recognizers, form.faces) == (A, ["a", "b", "c"], "all")


@pytest.mark.parametrize(
    "names",
    [
        "a,b",
        " a , b ",
        "b,a",
        ["a", "b"],
        ["a,b", "a"],
        ["a", " b "],
    ],
)
def test_recognizers_are_split_trimmed_and_named_once(names: Any) -> None:
    form = validate(EmbedRequest, {"image": A, "recognizers": names})
    assert sorted(form.recognizers or []) == ["a", "b"]
    assert form.recognizers == list(dict.fromkeys(form.recognizers or []))


def test_recognizers_are_in_the_order_of_their_first_mention() -> None:
    form = validate(EmbedRequest, {"image": A, "recognizers": ["c,a", "b", "a,c"]})
    assert form.recognizers == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"target": TEXT_B}, "source", "is required"),
        ({}, "source", "source: is required; target: is required"),
        ({**BOTH, "treshold": 0.5}, "treshold", "is not a field of this route"),
        ({**BOTH, "threshold": 1.5}, "threshold", "less than or equal to 1"),
        ({**BOTH, "threshold": "NaN"}, "threshold", "finite"),
        ({**BOTH, "threshold": float("nan")}, "threshold", "finite"),
        ({**BOTH, "threshold": float("-inf")}, "threshold", "finite"),
        ({**BOTH, "threshold": "high"}, "threshold", "valid number"),
        ({**BOTH, "faces": "best"}, "faces", "'largest' or 'all'"),
        ({**BOTH, "recognizers": []}, "recognizers", "at least 1"),
        ({**BOTH, "recognizers": "a,,b"}, "recognizers.1", "at least 1"),
        ({**BOTH, "recognizers": ["a", 5]}, "recognizers.1", "valid string"),
        ({**BOTH, "recognizers": "a" * 65}, "recognizers.0", "at most 64"),
        ({**BOTH, "recognizers": {"a": 1}}, "recognizers", "valid list"),
        ({**BOTH, "source": "%%%"}, "source", "not base64"),
        ({**BOTH, "source": "abcde"}, "source", "not base64"),
        ({**BOTH, "source": "é"}, "source", "not base64"),
        ({**BOTH, "source": f"data:image/png,{TEXT_A}"}, "source", "data URL"),
        ({**BOTH, "source": f"{TEXT_A},{TEXT_A}"}, "source", "data URL"),
        ({**BOTH, "source": 5}, "source", "valid bytes"),
        ({**BOTH, "target": None}, "target", "valid bytes"),
        ({**BOTH, "target": [TEXT_B]}, "target", "valid bytes"),
    ],
)
def test_a_wrong_field_is_named_with_its_fault(
    fields: dict[str, object], field: str, words: str
) -> None:
    named, message = fault(json_request(fields))
    assert named == field
    assert message.startswith(f"{field}: ")
    assert words in message


def test_the_error_lists_every_problem_and_the_fields_of_the_route() -> None:
    error = refused(json_request({"source": "%", "threshold": 2}), InvalidRequest)
    problems = error.details["problems"]
    assert {item["field"] for item in problems} == {"source", "target", "threshold"}
    options = {"recognizers", "threshold", "faces", "source_face", "liveness"}
    assert set(error.details["fields"]) == options | {"source", "target"}
    assert "Value error" not in error.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'"source"', "expected a JSON object"),
        (b"[1, 2]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b"[" * 200_000, "not JSON"),
        (b'{"source":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"threshold":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"\\ud800":1,"source":"","target":""}', "unable to parse"),
    ],
    ids=["empty", "open", "bytes", "text", "list", "null", "deep", "deeper", "long", "half"],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, words: str) -> None:
    field, message = fault(json_request(body))
    assert field == "body"
    assert words in message


@pytest.mark.parametrize(
    ("value", "photos"),
    [(True, "both"), (False, None), ("TRUE", "both"), ("target", "target"), (None, None)],
)
def test_liveness_is_of_both_photos_or_of_the_named_one(value: object, photos: str | None) -> None:
    request = json_request({"source": "", "target": "", "liveness": value})
    assert read(request, CompareRequest).liveness == photos


@pytest.mark.parametrize("value", ["first", 1, ["both"], {"source": True}])
def test_liveness_of_anything_else_is_refused(value: object) -> None:
    request = json_request({"source": "", "target": "", "liveness": value})
    assert refused(request, InvalidRequest).details["field"] == "liveness"


def test_nested_json_as_a_fields_value_is_that_fields_fault() -> None:
    nested = b'{"a":' * 300 + b"1" + b"}" * 300
    body = b'{"source":' + nested + b',"target":"' + TEXT_B.encode() + b'"}'
    assert fault(json_request(body))[0] == "source"


REPEATED = "source: given more than once"


@pytest.mark.parametrize(
    "sent",
    [
        json_request(b'{"source":"YWJj","source":"YWJj","target":"YWJj"}'),
        multipart(("source", ("a.jpg", A)), ("source", ("b.jpg", B)))[0],
        multipart(("source", ("a.jpg", A)), ("source", TEXT_A))[0],
    ],
    ids=["JSON", "files", "file and text"],
)
def test_a_field_given_more_than_once_is_refused(sent: Request) -> None:
    assert fault(sent) == ("source", REPEATED)


@pytest.mark.parametrize("form", ["multipart", "json"])
def test_options_may_be_in_the_query_with_every_encoding(form: str) -> None:
    image = base64.b64encode(A).decode()
    sent = (
        multipart(("image", ("a", A)))[0] if form == "multipart" else json_request({"image": image})
    )
    sent.scope["query_string"] = b"faces=all&recognizers=a&recognizers=b"
    read_back = read(sent, EmbedRequest)
    assert (read_back.image, read_back.faces, read_back.recognizers) == (A, "all", ["a", "b"])


@pytest.mark.parametrize(
    "media_type",
    ["image/jpg", "image/pjpeg", "IMAGE/PNG; a=b", "image/heic", "application/octet-stream"],
)
def test_an_image_is_taken_by_its_content_whatever_its_type_says(media_type: str) -> None:
    assert read(raw(A, media_type), DetectRequest).image == A


def part(*headers: str) -> Request:
    head = "".join(f"{header}\r\n" for header in headers).encode()
    body = b"--x\r\n" + head + b"\r\n\xff\xd8 first\r\n--x--\r\n"
    return raw(body, BOUNDARY)


@pytest.mark.parametrize("media_type", ["image/jpeg", "Image/JPG", "application/octet-stream"])
@pytest.mark.parametrize("type_first", [False, True])
def test_a_part_without_a_file_name_is_a_file_if_its_type_is_an_images(
    media_type: str, type_first: bool
) -> None:
    headers = ['Content-Disposition: form-data; name="image"', f"Content-Type: {media_type}"]
    assert read(part(*sorted(headers, reverse=type_first)), DetectRequest).image == A


def test_a_part_without_a_file_name_is_text_if_its_type_is_no_images() -> None:
    field, message = fault(
        part('Content-Disposition: form-data; name="image"', "Content-Type: text/plain"),
        DetectRequest,
    )
    assert field == "image"
    assert "not base64" in message


def test_a_part_with_an_images_type_but_no_name_is_refused() -> None:
    refused(part("Content-Type: image/jpeg"), InvalidRequest, DetectRequest)


@pytest.mark.parametrize("query", ["faces=all&faces=all", "image=YWJj"])
def test_a_raw_images_query_repeats_nothing(query: str) -> None:
    field = query.partition("=")[0]
    assert fault(raw(A, "image/png", query), EmbedRequest) == (
        field,
        f"{field}: given more than once",
    )


def test_recognizers_repeated_in_json_are_joined() -> None:
    body = b'{"image":"YWJj","recognizers":"a","recognizers":"b","recognizers":"a"}'
    assert read(json_request(body), EmbedRequest).recognizers == ["a", "b"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("multipart/form-data", b"--x--"),
        (BOUNDARY, b"no boundary at all"),
        (BOUNDARY, b"--x\r\nContent-Type: text/plain\r\n\r\nYWJj\r\n--x--\r\n"),
        (BOUNDARY, b"--x\r\nContent-Disposition: form-data\r\n\r\nYWJj\r\n--x--\r\n"),
        (BOUNDARY, b"--x\r\n" + b"A: b\r\n" * 3000 + b"\r\nYWJj\r\n--x--\r\n"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="source"\r\n\r\nYWJj'),
        (BOUNDARY, b""),
    ],
    ids=["no boundary", "no part", "no name", "no name given", "headers", "cut off", "empty"],
)
def test_a_broken_form_is_an_invalid_request(media_type: str, body: bytes) -> None:
    refused(raw(body, media_type), InvalidRequest)


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "image/gif", "image/tiff"]
)
def test_another_content_type_is_refused_and_the_error_lists_the_accepted_ones(
    media_type: str,
) -> None:
    error = refused(raw(A, media_type), UnsupportedMediaType, DetectRequest)
    assert error.details["field"] == "content-type"
    for taken in ("multipart/form-data", "application/json", "image/jpeg", "image/bmp"):
        assert taken in error.message


def test_a_request_without_content_type_is_refused() -> None:
    refused(request(Body(A, piece=5), {}), UnsupportedMediaType, DetectRequest)


def test_a_route_for_two_images_takes_none_as_the_body() -> None:
    error = refused(raw(A, "image/jpeg"), UnsupportedMediaType)
    assert "image/png" not in error.message
