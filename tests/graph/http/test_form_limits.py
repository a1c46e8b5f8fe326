"""Limits on a body: it is read only up to the limit, and its error is short."""

import asyncio
import tempfile

import pytest
from starlette.requests import Request
from starlette.types import Message

from configs.limits import RequestLimits
from deployments.errors import DeadlineExceeded, InvalidRequest, Overloaded, RequestTooLarge
from graph.http.admission import BodyMemory, Share
from graph.http.forms import read_form
from graph.schemas import DetectRequest, EmbedRequest
from tests.support.form_requests import Body, json_request, multipart, raw, read, refused, request

BOUNDARY = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    "body",
    [
        b'{"recognizers":[' + b"1," * 200_000 + b"1]}",
        b'{"recognizers":"' + b"a," * 200_000 + b'"}',
        b"{" + b",".join([b'"recognizers":"a"'] * 50_000) + b"}",
        b"{" + b",".join(b'"k%d":1' % index for index in range(50_000)) + b"}",
        b'{"' + b"k" * 500_000 + b'":1}',
        b'{"%b":1,"%b":1}' % (b"k" * 5000, b"k" * 5000),
        b'{"\\ud800":1,"\\ud800":1}',
    ],
    ids=["items", "names", "repeated", "fields", "long name", "long repeated", "half a character"],
)
def test_no_body_makes_an_answer_long_or_impossible_to_encode(body: bytes) -> None:
    refused(json_request(body), InvalidRequest, EmbedRequest)  # `refused` limits the answer


@pytest.mark.parametrize("count", [65, 3000])
@pytest.mark.parametrize("part", ["text", ("a.txt", b"file")])
def test_a_form_with_far_too_many_parts_is_refused_early(
    part: str | tuple[str, bytes], count: int
) -> None:
    sent, body = multipart(*((f"field{index}", part) for index in range(count)), piece=1000)
    error = refused(sent, InvalidRequest)
    assert error.details["field"] == "body"
    assert "Maximum number" in error.message
    assert body.taken < 20


LIMIT = RequestLimits(max_bytes=2000)


def test_a_body_declared_too_long_is_refused_unread() -> None:
    body = Body(b"{}", piece=10)
    headers = {"content-type": "application/json", "content-length": "2001"}
    error = refused(request(body, headers), RequestTooLarge, limits=LIMIT)
    assert error.details == {"field": "body", "max_bytes": 2000}
    assert error.message == "body: longer than 2000 bytes"
    assert body.taken == 0


@pytest.mark.parametrize("media_type", ["application/json", "image/jpeg", BOUNDARY])
@pytest.mark.parametrize("declared", [None, "5", "-1", "many"])
def test_a_body_that_grows_too_long_is_read_no_further(
    media_type: str, declared: str | None
) -> None:
    start = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = Body(start + b"a" * 100_000, piece=100)
    headers = {"content-type": media_type}
    if declared:
        headers["content-length"] = declared
    refused(request(body, headers), RequestTooLarge, DetectRequest, LIMIT)
    assert body.taken == 21  # 2000 bytes, and the piece that passes the limit


def test_bodies_share_a_limit_that_is_free_again_afterwards() -> None:
    memory = BodyMemory(3000)
    content = b"\xff\xd8" + bytes(1998)

    def read_with(share: Share) -> int:
        sent = raw(content, "image/jpeg")
        return len(asyncio.run(read_form(sent, DetectRequest, LIMIT, share)).image)

    with memory.share() as first:
        assert read_with(first) == 2000
        with memory.share() as second, pytest.raises(Overloaded) as caught:
            read_with(second)
        assert caught.value.details == {"max_bytes_in_flight": 3000}
    with memory.share() as third:
        assert read_with(third) == 2000


def test_large_files_of_a_form_stay_off_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    sent, _ = multipart(("image", ("a.jpg", b"a" * 5_000_000)), piece=65536)
    assert len(read(sent, DetectRequest).image) == 5_000_000


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    content = b"\xff\xd8" + bytes(1998)
    assert read(raw(content, "image/jpeg"), DetectRequest, LIMIT).image == content


def test_a_body_that_does_not_arrive_is_given_up_at_its_deadline() -> None:
    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = request(Body(b"", piece=1), {"content-type": "application/json"}).scope
    with pytest.raises(DeadlineExceeded, match="body") as caught:
        read(Request(scope, receive), DetectRequest, RequestLimits(body_timeout_s=0.05))
    assert caught.value.details == {"field": "body"}
