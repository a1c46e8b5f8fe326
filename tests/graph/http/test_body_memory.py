"""Bodies take little more than their size while they are read, in a process of its own."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context

import pytest
from starlette.requests import Request
from starlette.types import Message

from configs.limits import MEBI, RequestLimits
from deployments.errors import InvalidRequest
from deployments.replica.memory import return_blocks
from graph.http.admission import BodyMemory
from graph.http.forms import RETURNED_FROM_BYTES, read_form
from graph.schemas import DetectRequest
from tests.support.form_requests import json_request, read, refused
from tests.support.processes import peak_growth_mib

BODIES, IMAGE = 16, bytes(12 * MEBI)
FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
KINDS = {
    "image/jpeg": (b"", IMAGE, b""),
    "multipart/form-data; boundary=x": (FORM, IMAGE, b"\r\n--x--\r\n"),
    "application/json": (b'{"image": "', base64.b64encode(IMAGE), b'"}'),
}
PIECE = 65536


async def pieces(parts: tuple[bytes, ...]) -> AsyncIterator[Message]:
    for part in parts:
        for at in range(0, len(part), PIECE):
            await asyncio.sleep(0)  # the bodies arrive at the same time
            yield {"type": "http.request", "body": part[at : at + PIECE], "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def read_together(media_type: str) -> None:
    """Read all bodies, and keep their images until the last is read."""
    memory, limits = BodyMemory(BODIES * 2 * len(IMAGE)), RequestLimits()
    headers = [(b"content-type", media_type.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    async with AsyncExitStack() as shares:
        forms = []
        for _ in range(BODIES):
            request = Request(scope, pieces(KINDS[media_type]).__anext__)
            share = shares.enter_context(memory.share())
            forms.append(read_form(request, DetectRequest, limits, share))
        images = [form.image for form in await asyncio.gather(*forms)]
        assert [len(image) for image in images] == [len(IMAGE)] * BODIES


def growth_mib(media_type: str) -> float:
    return_blocks(from_bytes=RETURNED_FROM_BYTES)  # as the ingress does
    with peak_growth_mib(os.getpid()) as growth:
        asyncio.run(read_together(media_type))
        return growth()


@pytest.mark.parametrize("media_type", KINDS)
def test_bodies_take_their_size_while_they_are_read(media_type: str) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        grown_mib = processes.submit(growth_mib, media_type).result()
    size_mib = sum(map(len, KINDS[media_type])) / MEBI
    assert BODIES * len(IMAGE) / MEBI < grown_mib < (BODIES + 4) * size_mib


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1"])
def test_a_large_json_body_with_little_but_small_values_is_not_parsed(value: bytes) -> None:
    body = b'{"image":[' + b",".join([value] * MEBI) + b"]}"
    error = refused(json_request(body), InvalidRequest, DetectRequest)
    assert error.message == "body: more than 1000 values"


def test_a_large_photo_in_json_may_have_line_breaks() -> None:
    text = base64.encodebytes(IMAGE[: 3 * MEBI]).decode()
    assert read(json_request({"image": text}), DetectRequest).image == IMAGE[: 3 * MEBI]
