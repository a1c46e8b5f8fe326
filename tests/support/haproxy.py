"""Serve's HAProxy as a node runs it, without Ray, in front of a small server of its own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

from graph.cluster.preflight import free_port
from graph.serve_haproxy import SupervisedHAProxy
from tests.support.ray_private import BackendConfig, HAProxyConfig, HTTPOptions, ServerConfig

# The other end of the loopback network: another address than that of the tests' usual clients.
OTHER_ADDRESS = "127.0.0.2"


async def replica(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that answers as an ingress replica does: it reads every body from the
    start, and refuses a request with a key before that has arrived."""
    arriving: asyncio.Queue[Any] = asyncio.Queue()

    async def read() -> None:
        with suppress(asyncio.CancelledError):
            while (message := await receive())["type"] == "http.request":
                arriving.put_nowait(message)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    refused = b"authorization" in dict(scope["headers"])
    size, more = 0, not refused
    while more:
        message = await arriving.get()
        size += len(message["body"])
        more = message["more_body"]
    body = json.dumps({"size": size, "padding": "x" * 150}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    status = 401 if refused else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    reader.cancel()


@dataclass
class Node:
    """HAProxy on a node. metrics_port, statistics_port: of its monitoring."""

    api: SupervisedHAProxy
    port: int
    metrics_port: int
    statistics_port: int

    @property
    def pid(self) -> int:
        assert self.api._proc is not None
        return int(self.api._proc.pid)

    async def status(self, **options: Any) -> int:
        """The status of a request on a connection of its own."""
        async with httpx.AsyncClient(timeout=5) as client:
            return (await client.get(f"http://127.0.0.1:{self.port}/", **options)).status_code

    async def send(
        self, text: bytes, source: str = "127.0.0.1", *, half_close: bool = False
    ) -> bytes:
        """Everything that HAProxy answers to these bytes until it closes the connection."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )
        writer.write(text)
        if half_close:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """The port of a server with the application above."""
    config = uvicorn.Config(replica, lifespan="off", log_config=None, access_log=False)
    running = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(running.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            running.should_exit = running.force_exit = True
            await serving


def configured(folder: Path, *server_ports: int, port: int | None = None, **options: Any) -> Node:
    """HAProxy that is not started yet, with its files in `folder`. port: None takes a free one.
    options: of HAProxyConfig."""
    ports = [port or free_port(), free_port(), free_port()]
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=ports[0]),
        metrics_port=ports[1],
        stats_port=ports[2],
        socket_path=f"{folder}/admin.sock",
        server_state_base=str(folder),
        server_state_file=f"{folder}/server-state",
        metrics_socket_path=f"{folder}/metrics.sock",
        has_received_routes=True,
        is_head=True,
        **options,
    )
    servers = [ServerConfig(f"r{port}", "127.0.0.1", port) for port in server_ports]
    backend = BackendConfig(name="http-facegraph", path_prefix="/", servers=servers, app_name="f")
    api = SupervisedHAProxy(config, {"http-facegraph": backend}, f"{folder}/haproxy.cfg")
    return Node(api, *ports)


@asynccontextmanager
async def running_haproxy(folder: Path, **options: Any) -> AsyncIterator[Node]:
    async with server() as port:
        node = configured(folder, port, **options)
        await node.api.start()
        try:
            yield node
        finally:
            await node.api.stop()
