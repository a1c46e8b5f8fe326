"""The HAProxy before several clusters: the real program, before small servers in their place."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from graph.cluster.front import Front, front_of
from graph.cluster.preflight import LaunchFailed, free_port
from tests.support.processes import listeners
from tests.support.profiles import ROOT
from tests.support.waiting import wait_until, wait_until_async

# The longest that HTTP may be away after the death of this HAProxy, in seconds.
AWAY_S = 3.0
CONTENT = {
    "controller_options": {
        "runtime_env": {
            "env_vars": {
                "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
                "RAY_SERVE_HAPROXY_RETRIES": "2",
            }
        }
    },
    "applications": [{"route_prefix": "/faces"}],
}
PROGRAM = f"""
import asyncio, sys
from graph.cluster.front import front_of

asyncio.run(front_of({CONTENT!r}, int(sys.argv[1]), [1, 2], print).run())
"""


class Cluster:
    """A server in a cluster's place. status: of its answers; None: it closes the connection as soon
    as it has the whole request. is_ready: its `/faces/readyz` is answered with 200."""

    def __init__(self, status: int | None = 200, *, is_ready: bool = True) -> None:
        self.status = status
        self.is_ready = is_ready
        self.bodies: list[bytes] = []
        # The answers to all but /readyz wait for it.
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await self._head(reader):
            length = re.search(rb"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            status: int | None = 200 if self.is_ready else 503
            if not head.startswith(b"GET /faces/readyz "):
                self.bodies.append(body)
                await self.may_answer.wait()
                status = self.status
            if status is None:
                break
            writer.write(b"HTTP/1.1 %d Some\r\ncontent-length: 2\r\n\r\nok" % status)
        writer.close()

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


@asynccontextmanager
async def fronted(*clusters: Cluster) -> AsyncIterator[tuple[Front, httpx.AsyncClient, list[str]]]:
    """A front that has seen which clusters are ready, a client of it, and its reports."""
    reports = list[str]()
    async with AsyncExitStack() as stack:
        ports = []
        for cluster in clusters:
            server = await asyncio.start_server(cluster.answer, "127.0.0.1", 0)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        port = free_port()
        front = front_of(CONTENT, port, ports, reports.append)
        running = asyncio.create_task(front.run())
        stack.callback(running.cancel)
        await wait_until_async(lambda: listeners(port) == 1)
        await asyncio.sleep(1)  # two health checks
        url = f"http://127.0.0.1:{port}"
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))
        yield front, client, reports


async def statuses(client: httpx.AsyncClient, number: int, body: bytes = b"x") -> Counter[int]:
    answers = [await client.post("/faces/v1/embed", content=body) for _ in range(number)]
    return Counter(answer.status_code for answer in answers)


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scene(), 60)

    return asyncio.run(bounded())


@pytest.mark.parametrize("status", [None, 502, 503])
def test_a_request_that_a_cluster_loses_goes_to_another(status: int | None) -> None:
    async def scene() -> None:
        lost, whole = Cluster(status), Cluster()
        async with fronted(lost, whole) as (_, client, _):
            body = b"x" * 40_000
            assert await statuses(client, 10, body) == {200: 10}
            assert len(lost.bodies) > 2
            assert set(lost.bodies + whole.bodies) == {body}

    run(scene)


@pytest.mark.parametrize("status", [422, 429, 500, 504])
def test_other_answers_reach_the_client(status: int) -> None:
    async def scene() -> None:
        clusters = Cluster(status), Cluster(status)
        async with fronted(*clusters) as (_, client, _):
            assert await statuses(client, 4) == {status: 4}
            assert sum(len(cluster.bodies) for cluster in clusters) == 4

    run(scene)


def test_a_refusal_by_every_cluster_reaches_the_client() -> None:
    async def scene() -> None:
        async with fronted(Cluster(503), Cluster(503)) as (_, client, _):
            answer = await client.post("/faces/v1/embed", content=b"x")
            assert (answer.status_code, answer.text) == (503, "ok")

    run(scene)


def test_requests_go_to_clusters_that_are_ready_and_to_any_if_none_is() -> None:
    async def scene() -> None:
        ready, other = Cluster(), Cluster(is_ready=False)
        async with fronted(ready, other) as (_, client, _):
            assert await statuses(client, 6) == {200: 6}
            assert (len(ready.bodies), len(other.bodies)) == (6, 0)
            ready.is_ready = False
            await asyncio.sleep(3)
            assert await statuses(client, 6) == {200: 6}
            assert other.bodies
            ready.is_ready = True
            await asyncio.sleep(1)
            other.bodies.clear()
            assert await statuses(client, 6) == {200: 6}
            assert not other.bodies

    run(scene)


def test_without_a_cluster_the_answer_says_so() -> None:
    async def scene() -> None:
        async with fronted() as (_, client, _):
            answer = await client.post("/faces/v1/embed", content=b"x")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"]["code"] == "model_unavailable"

    run(scene)


def test_it_is_started_again_when_it_dies() -> None:
    async def scene() -> None:
        async with fronted(Cluster(), Cluster()) as (front, client, reports):
            assert front._process
            os.kill(front._process.pid, signal.SIGKILL)
            died = time.monotonic()
            while True:
                try:
                    if await statuses(client, 1) == {200: 1} and reports:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
            assert time.monotonic() - died < AWAY_S
            assert reports == ["HAProxy has ended with code -9, and is started again"]

    run(scene)


def test_when_it_stops_requests_under_way_are_answered() -> None:
    async def scene() -> None:
        cluster = Cluster()
        async with fronted(cluster) as (front, client, reports):
            cluster.may_answer.clear()
            answer = asyncio.create_task(client.post("/faces/v1/embed", content=b"x"))
            await wait_until_async(lambda: bool(cluster.bodies))
            front.stop()
            port = client.base_url.port
            assert port
            await wait_until_async(lambda: listeners(port) == 0)  # HAProxy has read the signal
            with pytest.raises(httpx.ConnectError):
                await client.get("/faces/readyz")
            cluster.may_answer.set()
            assert (await answer).status_code == 200
            process = front._process
            assert process
            await wait_until_async(lambda: process.returncode is not None)
            assert reports == []

    run(scene)


def test_it_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, program, str(port)], env=environment) as supervisor:
        try:
            wait_until(lambda: listeners(port) == 1)
        finally:
            supervisor.kill()
    wait_until(lambda: listeners(port) == 0)


def test_clusters_keep_the_host_of_the_file(tmp_path: Path) -> None:
    """By which the ingress tells whether only this machine reaches it."""
    public = {**CONTENT, "http_options": {"host": "0.0.0.0"}}
    port = free_port()
    text = front_of(public, port, [1, 2], print).write(tmp_path).read_text()
    assert f"bind 0.0.0.0:{port}\n" in text
    assert "server ready1 127.0.0.1:1 check\n" in text


def test_https_and_a_port_that_is_taken_are_refused() -> None:
    https = {**CONTENT, "http_options": {"ssl_certfile": "a.pem"}}
    with pytest.raises(LaunchFailed, match="several clusters serve no HTTPS"):
        front_of(https, free_port(), [1, 2], print)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(LaunchFailed, match="Address already in use"):
            front_of(CONTENT, other.getsockname()[1], [1, 2], print)
