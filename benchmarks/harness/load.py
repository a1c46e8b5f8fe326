"""Load over HTTP: photos, requests, and clients that send them and measure the answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import httpx
import numpy as np

from tests.support.load import Load, Outcome
from tests.support.photos import photo

TIMEOUT_S = 300.0
CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
# Networks round differently by batch size; another request's answer differs by tenths.
SCORE_TOLERANCE, BOX_TOLERANCE_PX = 0.02, 1.0
MS = 1000


@dataclass(frozen=True)
class Request:
    """A POST to one route, and the status that answers it.

    expected: scores, and box coordinates in pixels, of the right answer; None if answers are not
    compared.
    """

    path: str
    body: bytes
    content_type: str
    status: int = 200
    expected: tuple[Sequence[float], Sequence[float]] | None = None

    def is_answered_by(self, answer: Any) -> bool:
        assert self.expected is not None
        tolerances = (SCORE_TOLERANCE, BOX_TOLERANCE_PX)
        pairs = zip(self.expected, scores_and_box(self.path, answer), tolerances, strict=True)
        return all(np.allclose(own, other, atol=apart) for own, other, apart in pairs)


Post = Callable[[Request], Awaitable[Outcome]]


@dataclass(frozen=True)
class Measured:
    """Throughput and latency of one request under load.

    rate: requests per second that were answered with the expected status.
    """

    count: int
    failed: int
    took_s: float
    rate: float
    p50_ms: float
    p99_ms: float


def scores_and_box(path: str, answer: Any) -> tuple[list[float], list[float]]:
    """The numbers of an answer that tell it from the answer to another photo."""
    if path == "/v1/compare":
        return [answer["similarity"]], answer["target"]["box"]
    face, *others = answer["faces"]
    if path == "/v1/detect":
        return [float(1 + len(others))], face["box"]
    (embedding,) = face["embeddings"].values()
    return embedding["embedding"][:8], face["box"]


def resized_photo(name: str, longer_side: int) -> bytes:
    """A bundled photo as a JPEG whose longer side has this many pixels."""
    pixels = photo(name)
    scale = longer_side / max(pixels.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation)
    return bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def photo_640(name: str) -> bytes:
    return resized_photo(name, 640)


def post_of(path: str, fields: Mapping[str, bytes], *, status: int = 200) -> Request:
    """A multipart request. The body is built once, so that the client costs little."""
    boundary = "facegraph-load"
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in fields.items()
    )
    body = parts + f"--{boundary}--\r\n".encode()
    return Request(path, body, f"multipart/form-data; boundary={boundary}", status)


def compare_request(source: bytes, target: bytes) -> Request:
    return post_of("/v1/compare", {"source": source, "target": target})


def two_groups() -> Request:
    """The comparison of two 640-px photos of groups that most benchmarks send."""
    return compare_request(photo_640("gdp.jpg"), photo_640("players.jpg"))


@asynccontextmanager
async def connection(url: str, clients: int, *, kept: bool = True) -> AsyncIterator[Post]:
    """Posts to the graph at `url`, over at most `clients` connections; 0 sets no limit. kept: a
    connection is used again, or else closed after each request."""
    connector = aiohttp.TCPConnector(limit=clients, force_close=not kept)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield partial(_post, session, url)


@asynccontextmanager
async def httpx_connection(url: str, clients: int) -> AsyncIterator[Post]:
    """As `connection`, by httpx. It writes a request's head and body apart, aiohttp at once."""
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=TIMEOUT_S) as client:
        yield partial(_post_by_httpx, client)


async def _post(session: aiohttp.ClientSession, url: str, request: Request) -> Outcome:
    headers = {"content-type": request.content_type}
    try:
        async with session.post(url + request.path, data=request.body, headers=headers) as answer:
            content, retry_after = await answer.read(), answer.headers.get("retry-after")
            return _outcome(request, answer.status, content, retry_after)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return Outcome(0, failure=type(error).__name__)


async def _post_by_httpx(client: httpx.AsyncClient, request: Request) -> Outcome:
    headers = {"content-type": request.content_type}
    try:
        answer = await client.post(request.path, content=request.body, headers=headers)
    except httpx.HTTPError as error:
        return Outcome(0, failure=type(error).__name__)
    retry_after = answer.headers.get("retry-after")
    return _outcome(request, answer.status_code, answer.content, retry_after)


def _outcome(request: Request, status: int, content: bytes, retry_after: str | None) -> Outcome:
    if status != request.status:
        return Outcome(status, None, retry_after, content[:200].decode(errors="replace"))
    if request.expected is None:
        return Outcome(status)
    return Outcome(status, request.is_answered_by(json.loads(content)))


async def with_answers(url: str, requests: Sequence[Request]) -> list[Request]:
    """The requests with their right answers, from an idle graph. Raises for any status but 200."""

    async def answered(session: aiohttp.ClientSession, request: Request) -> Request:
        headers = {"content-type": request.content_type}
        async with session.post(url + request.path, data=request.body, headers=headers) as answer:
            answer.raise_for_status()
            expected = scores_and_box(request.path, await answer.json())
            return replace(request, expected=expected)

    async with aiohttp.ClientSession() as session:
        return [await answered(session, request) for request in requests]


def longest_gap_s(began: float, ends: Iterable[float]) -> float:
    """The longest time between two of these moments, the first of which is `began`."""
    return max((later - sooner for sooner, later in pairwise([began, *sorted(ends)])), default=0.0)


def cycled(post: Post | Sequence[Post], requests: Sequence[Request]) -> Load:
    """Load of these requests in a cycle; client n begins with the n-th one.

    post: of several, client n takes the n-th one, again in a cycle.
    """
    posts = (post,) if callable(post) else post

    def send(client: int, turn: int) -> Awaitable[Outcome]:
        return posts[client % len(posts)](requests[(client + turn) % len(requests)])

    return Load(send)


def measure(
    url: str, request: Request, *, concurrency: int, seconds: float, at_least: int = 1
) -> Measured:
    """Send one request over and over from `concurrency` clients.

    at_least: requests of each client, however long they take. From 2 on, the latencies leave out
    the first request of each: they are all sent at once, to an idle server.
    """
    return asyncio.run(_measured(url, request, concurrency, seconds, at_least))


async def _measured(
    url: str, request: Request, concurrency: int, seconds: float, at_least: int
) -> Measured:
    began = time.perf_counter()
    async with connection(url, concurrency) as post:
        load = cycled(post, [request])
        await load.run(concurrency, seconds=seconds, at_least=at_least)
    took_s = time.perf_counter() - began
    latencies = [one.latency_s for one in load.sent if one.turn or at_least < 2]
    p50, p99 = (float(value) * MS for value in np.percentile(latencies, [50, 99]))
    answered = sum(one.outcome.status == request.status for one in load.sent)
    count = len(load.sent)
    return Measured(count, count - answered, took_s, answered / took_s, p50, p99)
