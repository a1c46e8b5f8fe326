"""Serve's HAProxy, guarded and supervised: the real program in front of a small server."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from configs.haproxy import HAProxySettings, haproxy_settings
from graph.cluster.launch import RunningGraph
from graph.haproxy import UnknownTemplate, guarded, most_connections
from graph.schemas import ErrorResponse
from graph.serve_private import haproxy_binary
from tests.support.haproxy import OTHER_ADDRESS, Node, configured, running_haproxy, server
from tests.support.processes import descendant

# The longest that HTTP may be away after HAProxy's death, in seconds.
AWAY_S = 3.0
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REQUEST = HEAD + b"content-length: 0\r\n\r\n"


def error_of(answer: bytes) -> tuple[int, str]:
    """The status and the code of an answer, which must be an error in the graph's form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length
    assert int(length[1]) == len(body)
    status = int(head.split()[1])
    return status, ErrorResponse.model_validate(json.loads(body)).error.code


def test_the_installed_serves_configuration_is_guarded(tmp_path: Path) -> None:
    node = configured(tmp_path, 1, maxconn=100)
    node.api._generate_config_file_internal()
    file = tmp_path / "haproxy.cfg"
    text = file.read_text()
    checked = subprocess.run(
        [haproxy_binary(), "-c", "-f", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "timeout http-request 5000ms" in text
    assert "src_conn_cur ge 75 " in text
    assert f"bind 127.0.0.1:{node.metrics_port}\n" in text
    assert f"bind 127.0.0.1:{node.statistics_port}\n" in text


def test_a_template_without_a_known_line_is_refused() -> None:
    with pytest.raises(UnknownTemplate, match=r"0 places like .*stats socket.*not supported"):
        guarded("global\n", HAProxySettings(), maxconn=1, error_files=Path("/"))


def test_settings_come_from_variables() -> None:
    variables = {"FACEGRAPH_HAPROXY_HEAD_TIMEOUT_S": "2.5", "FACEGRAPH_MODELS": "/models"}
    assert haproxy_settings(variables) == HAProxySettings(head_timeout_s=2.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEAD_TIMEOUT", "5"), ("SHARE_PER_ADDRESS", "1.5"), ("MONITORING_HOST", "a b")],
)
def test_wrong_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        haproxy_settings({f"FACEGRAPH_HAPROXY_{name}": value})


@pytest.mark.parametrize(
    ("open_files", "expected"), [(1 << 30, 16384), (20_000, 15_904), (4096, 2048), (1024, 512)]
)
def test_connections_are_as_many_as_files_may_be_open(open_files: int, expected: int) -> None:
    assert most_connections(16384, open_files) == expected


def test_haproxys_own_answers_to_requests_with_a_head_are_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_HAPROXY_HEAD_TIMEOUT_S", "0.2")

    async def answers() -> list[tuple[int, str]]:
        async with running_haproxy(tmp_path) as node:
            stalled = await node.send(HEAD + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n")
            (application,) = node.api.backend_configs.values()
            application.path_prefix = "/elsewhere"
            await node.api.reload()
            unknown = await node.send(REQUEST)
            node.api.backend_configs = {}
            await node.api.reload()
            starting = await node.send(REQUEST)
            return [error_of(stalled.removeprefix(CONTINUE)), error_of(unknown), error_of(starting)]

    assert asyncio.run(answers()) == [
        (408, "deadline_exceeded"),
        (404, "not_found"),
        (503, "model_unavailable"),
    ]


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"content-length: 9", b"x" * 9),
        (b"transfer-encoding: chunked", b"9\r\nxxxxxxxxx\r\n0\r\n\r\n"),
    ],
)
def test_a_request_whose_head_and_body_come_apart_survives_its_server(
    tmp_path: Path, framing: bytes, body: bytes
) -> None:
    lost = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        read = b""
        while b"x" * 9 not in read and (piece := await reader.read(1000)):
            read += piece
        lost += b"x" * 9 in read  # a health check sends nothing
        writer.close()

    async def request(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + framing + b"\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(body)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer

    async def answers() -> list[bytes]:
        dying = await asyncio.start_server(die, "127.0.0.1", 0)
        async with server() as port, dying:
            ports = [dying.sockets[0].getsockname()[1], port]
            node = configured(tmp_path, *ports, retry_on="conn-failure empty-response", retries=2)
            await node.api.start()
            try:
                return [await request(node.port) for _ in range(6)]
            finally:
                await node.api.stop()

    found = asyncio.run(answers())
    assert [answer.split(b"\r\n")[0] for answer in found] == [b"HTTP/1.1 200 OK"] * 6
    assert lost > 0


def test_a_malformed_head_is_refused(tmp_path: Path) -> None:
    """HAProxy has no setting for this answer, which is HTML."""

    async def answers() -> list[bytes]:
        async with running_haproxy(tmp_path) as node:
            sent = [b"no HTTP\r\n\r\n", HEAD + b"a header: 1\r\n\r\n"]
            return [(await node.send(text)).split(b"\r\n")[0] for text in sent]

    assert asyncio.run(answers()) == [b"HTTP/1.1 400 Bad request"] * 2


def test_without_a_replica_the_answer_says_so(tmp_path: Path) -> None:
    async def answer() -> bytes:
        node = configured(tmp_path, 1)  # a port at which nothing listens
        await node.api.start()
        try:
            return await node.send(REQUEST)
        finally:
            await node.api.stop()

    found = asyncio.run(answer())
    assert error_of(found) == (503, "model_unavailable")
    assert b"retry-after: 1" in found


def test_unfinished_heads_lock_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 40 connections in all, one address gets 30, each for three seconds."""
    monkeypatch.setenv("FACEGRAPH_HAPROXY_HEAD_TIMEOUT_S", "3")

    async def attack() -> tuple[int, float, Counter[bytes]]:
        async with running_haproxy(tmp_path, maxconn=40) as node:
            head = b"POST / HTTP/1.1\r\nhost: a\r\nx: "
            held = [asyncio.create_task(node.send(head, OTHER_ADDRESS)) for _ in range(100)]
            await asyncio.sleep(0.2)
            began = time.monotonic()
            status = await node.status()
            seconds = time.monotonic() - began
            ends = await asyncio.gather(*held, return_exceptions=True)
            return status, seconds, Counter(_end(one) for one in ends)

    status, seconds, ends = asyncio.run(attack())
    assert status == 200
    assert seconds < 1
    assert ends == {b"HTTP/1.1 408 Request Time-out": 30, b"": 70}


def _end(answer: bytes | BaseException) -> bytes:
    """The status line that ended a connection; empty for one that was closed at once."""
    return answer.split(b"\r\n")[0] if isinstance(answer, bytes) else b""


def test_a_refusal_of_a_request_that_expects_100_is_whole(tmp_path: Path) -> None:
    request = HEAD + b"authorization: a\r\ncontent-length: 20000\r\nexpect: 100-continue\r\n\r\n"

    async def answers() -> list[bytes]:
        async with running_haproxy(tmp_path) as node:
            found = []
            for _ in range(50):
                sent = (node.send(request + b"x" * 20_000) for _ in range(8))
                found += await asyncio.gather(*sent)
            return found

    for answer in asyncio.run(answers()):
        head, _, body = answer.removeprefix(CONTINUE).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert json.loads(body)["padding"] == "x" * 150


def test_a_client_that_waits_for_100_gets_it_at_once(tmp_path: Path) -> None:
    async def upload() -> tuple[float, bytes]:
        async with running_haproxy(tmp_path) as node:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            began = time.monotonic()
            writer.write(HEAD + b"content-length: 3000000\r\nexpect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == CONTINUE
            waited = time.monotonic() - began
            writer.write(b"x" * 3_000_000)
            answer = await reader.read()
            writer.close()
            return waited, answer

    waited, answer = asyncio.run(upload())
    assert waited < 0.5
    assert b'"size": 3000000' in answer


def test_a_haproxy_that_dies_is_started_again_and_can_be_reloaded(tmp_path: Path) -> None:
    async def die() -> tuple[float, list[int]]:
        async with running_haproxy(tmp_path) as node:
            first = node.pid
            os.kill(first, signal.SIGKILL)
            away = await answered_again(node)
            await node.api.reload()
            second = node.pid
            os.kill(second, signal.SIGKILL)
            await node.api.reload()  # before the supervisor has seen the death
            assert await node.status() == 200
            return away, [first, second, node.pid]

    away, pids = asyncio.run(die())
    assert away < AWAY_S
    assert len(set(pids)) == 3


async def answered_again(node: Node) -> float:
    """Seconds until a request is answered again."""
    began = time.monotonic()
    while True:
        with suppress(httpx.TransportError):
            assert await node.status() == 200
            return time.monotonic() - began
        await asyncio.sleep(0.02)


def test_a_new_manager_takes_over_the_haproxy_of_a_dead_one(tmp_path: Path) -> None:
    async def take_over() -> Counter[int]:
        async with running_haproxy(tmp_path) as node:
            assert os.getpgid(node.pid) == node.pid  # it does not end with its manager's group
            node.api._supervisor.cancel()  # type: ignore[union-attr]  # the manager is dead
            statuses: Counter[int] = Counter()

            async def clients() -> None:
                while True:
                    statuses[await node.status()] += 1

            load = asyncio.create_task(clients())
            again = type(node.api)(node.api.cfg, {}, node.api.config_file_path)
            await again.start()
            await asyncio.sleep(0.2)  # the new manager does not know the routes yet
            again.backend_configs = node.api.backend_configs
            await again.reload()
            await asyncio.wait_for(node.api._proc.wait(), 10)  # type: ignore[union-attr]
            assert not load.done()
            load.cancel()
            await again.stop()
            return statuses

    assert set(asyncio.run(take_over())) == {200}


def test_a_graph_runs_it(running: RunningGraph) -> None:
    async def die() -> float:
        os.kill(descendant(os.getpid(), "/haproxy"), signal.SIGKILL)
        began = time.monotonic()
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                with suppress(httpx.TransportError):
                    (await client.get(f"{running.url}/healthz")).raise_for_status()
                    return time.monotonic() - began
                await asyncio.sleep(0.05)

    assert asyncio.run(die()) < AWAY_S


def test_monitoring_and_the_admin_socket_are_private(tmp_path: Path) -> None:
    async def ports() -> tuple[int, list[bool]]:
        async with running_haproxy(tmp_path) as node:
            mode = stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode)
            monitoring = (node.metrics_port, node.statistics_port)
            return mode, [
                _listens(host, port) for port in monitoring for host in ("127.0.0.1", OTHER_ADDRESS)
            ]

    mode, listening = asyncio.run(ports())
    assert mode == 0o600
    assert listening == [True, False, True, False]


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
