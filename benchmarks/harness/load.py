"""Comparisons of two 640-px photos over HTTP: requests/s, latency and errors by concurrency.

    python -m benchmarks.harness.load [--url URL] [--seconds 60] [--concurrency 1 16]

Without --url, serve_config.yaml is started on a cluster of its own. Client and graph share the
machine's cores.
"""

import argparse
import asyncio
import platform
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import NamedTuple

import aiohttp
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from graph.bundled import bundled_photo
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

LONGER_SIDE = 640
TIMEOUT_S = 300.0
CONFIG = Path(__file__).parents[2] / "serve_config.yaml"


class Answers(NamedTuple):
    """Latencies in s, answers by status (0: none came), and the time that it all took."""

    latencies: list[float]
    statuses: Counter[int]
    took: float


def photo_640(name: str) -> bytes:
    """A bundled photo as a JPEG whose longer side is 640 px."""
    path = bundled_photo(name)
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    scale = LONGER_SIDE / max(pixels.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation)
    return bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def multipart(fields: dict[str, bytes]) -> tuple[bytes, str]:
    """A body and its content type, built once so that the client costs little."""
    boundary = "facegraph-load"
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in fields.items()
    )
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def load(
    url: str,
    body: bytes,
    content_type: str,
    *,
    concurrency: int,
    seconds: float,
    at_least: int = 1,
) -> Answers:
    """So many clients, each of which sends one request after the other.

    at_least: requests of each client, however long they take. From 2 on, the first one of each is
    not among the latencies: they are all sent at once, to a server that has nothing to do.
    """
    answers = Answers([], Counter(), 0.0)
    headers = {"content-type": content_type}
    started = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        for turn in count():
            sent = time.perf_counter()
            if turn >= at_least and sent - started >= seconds:
                return
            answers.statuses[await _status(session, url, body, headers)] += 1
            if turn or at_least < 2:
                answers.latencies.append(time.perf_counter() - sent)

    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return answers._replace(took=time.perf_counter() - started)


async def _status(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> int:
    try:
        async with session.post(url, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return 0


def measure(url: str, concurrencies: list[int], seconds: float) -> Table:
    body, content_type = multipart(
        {"source": photo_640("gdp.jpg"), "target": photo_640("players.jpg")}
    )
    table = Table(title=f"/v1/compare, two 640-px photos, {platform.processor() or 'this machine'}")
    for column in ("concurrency", "requests", "failed", "requests/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    target = f"{url}/v1/compare"
    asyncio.run(load(target, body, content_type, concurrency=4, seconds=5))  # warm-up
    for concurrency in concurrencies:
        latencies, statuses, took = asyncio.run(
            load(target, body, content_type, concurrency=concurrency, seconds=seconds)
        )
        p50, p99 = np.percentile(latencies, [50, 99]) * 1000
        failed = statuses.total() - statuses[200]
        rate = statuses.total() / took
        cells = (concurrency, statuses.total(), failed, f"{rate:.1f}", f"{p50:.1f}", f"{p99:.1f}")
        table.add_row(*map(str, cells))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args()
    if options.url:
        table = measure(options.url, options.concurrency, options.seconds)
    else:
        with own_graph(read_serve_file(options.config)) as graph:
            table = measure(graph.url, options.concurrency, options.seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
