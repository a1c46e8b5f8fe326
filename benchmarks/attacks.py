"""Attacks on HAProxy, and its death: python -m benchmarks.attacks

serve_config.yaml on a cluster of its own, each part for some seconds beside honest clients, each
of whose requests opens a connection:
- unfinished heads: 10,000 connections from one address, which send a byte every two seconds, and
  are opened again as soon as they are closed. The honest clients have another address, then the
  same one.
- Expect: 100-continue: 20,000 requests that are refused before their body was read: with a wrong
  route, type, key or length. `failed` are answers that are cut off.
- killed: HAProxy, and Serve's actor that manages it, by SIGKILL.

`away` is the longest time without an answer to an honest client; memory is HAProxy's RSS.
"""

import argparse
import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np

from benchmarks.harness.load import CONFIG, longest_gap_s
from benchmarks.harness.processes import Process, descendants, memory_of
from benchmarks.harness.results import draw_bars, report
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file

HONEST, ATTACKER = "127.0.0.1", "127.0.0.2"
CLIENTS = 4
LONGEST_S = 60.0  # to wait for another process in a killed one's place
HEALTHZ = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
HEAD = "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
# By the status of the refusal: the path and the headers of a request, and its announced length.
REFUSED = {
    404: ("/v1/nothing", "content-type: image/jpeg\r\n", 20_000),
    415: ("/v1/detect", "content-type: text/plain\r\n", 20_000),
    401: ("/v1/detect", "content-type: image/jpeg\r\nauthorization: Bearer\r\n", 20_000),
    413: ("/v1/detect", "content-type: image/jpeg\r\n", 50_000_000),
}
COLUMNS = (
    "attack",
    "sent",
    "failed",
    "honest",
    "honest failed",
    "p99 ms",
    "slowest ms",
    "away s",
    "MiB",
)


@dataclass
class Honest:
    """Honest clients: the ends of their answered requests and their durations, in s."""

    began: float = field(default_factory=time.monotonic)
    ended: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    async def run(self, host: str, port: int) -> None:
        while True:
            began = time.monotonic()
            try:
                answer = await asyncio.wait_for(_answer(host, port, HONEST, HEALTHZ), 30)
                self.failures[str(answer[:20])] += not answer.startswith(b"HTTP/1.1 200 ")
                self.ended.append(time.monotonic())
                self.seconds.append(time.monotonic() - began)
            except (OSError, asyncio.TimeoutError) as error:
                self.failures[type(error).__name__] += 1
            await asyncio.sleep(0.05)

    def away_s(self) -> float:
        return longest_gap_s(self.began, [*self.ended, time.monotonic()])


@dataclass(frozen=True)
class Row:
    attack: str
    outcomes: Counter[str]
    honest: Honest
    memory_mib: float
    away_s: float

    def columns(self) -> tuple[object, ...]:
        good = ("held", "whole", "killed")
        return (
            self.attack,
            self.outcomes.total(),
            sum(count for name, count in self.outcomes.items() if name not in good),
            len(self.honest.ended),
            self.honest.failures.total(),
            f"{np.percentile(self.honest.seconds or [0.0], 99) * 1000:.0f}",
            f"{max(self.honest.seconds, default=0) * 1000:.0f}",
            f"{self.away_s:.2f}",
            f"{self.memory_mib:.0f}",
        )


class Attacks:
    def __init__(self, url: str, options: argparse.Namespace) -> None:
        self._options = options
        parsed = httpx.URL(url)
        self._host, self._port = parsed.host, parsed.port or 80

    async def all(self) -> list[Row]:
        attacks: dict[str, Callable[[], Awaitable[Counter[str]]]] = {
            "10,000 unfinished heads": lambda: self._heads(ATTACKER),
            "the same, from the honest address": lambda: self._heads(HONEST),
            "Expect: 100-continue, refused": self._expecting,
            "HAProxy killed": lambda: self._kill("haproxy"),
            "its manager killed": lambda: self._kill("HAProxyManager"),
        }
        only = self._options.only
        return [
            await self._beside(name, attack)
            for name, attack in attacks.items()
            if not only or any(part in name for part in only)
        ]

    async def _beside(self, name: str, attack: Callable[[], Awaitable[Counter[str]]]) -> Row:
        honest = Honest()
        clients = [asyncio.create_task(honest.run(self._host, self._port)) for _ in range(CLIENTS)]
        await asyncio.sleep(2)
        outcomes = await attack()
        row = Row(name, outcomes, honest, _memory_mib(), honest.away_s())
        for client in clients:
            client.cancel()
        print(*row.columns(), dict(outcomes), dict(honest.failures), flush=True)
        return row

    async def _heads(self, source: str) -> Counter[str]:
        """In a process of its own, so that the honest clients are measured undisturbed."""
        options = self._options
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            held = await asyncio.get_running_loop().run_in_executor(
                pool,
                hold_heads,
                *(self._host, self._port, source, options.connections, options.seconds),
            )
        return Counter(held=held)

    async def _expecting(self) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        kinds = list(REFUSED)

        async def client(number: int) -> None:
            for turn in range(self._options.expecting // 8):
                status = kinds[(number + turn) % len(kinds)]
                outcomes[await self._refused(status, at_once=turn % 2 == 0)] += 1

        await asyncio.gather(*map(client, range(8)))
        return outcomes

    async def _refused(self, status: int, *, at_once: bool) -> str:
        """`whole`, or the answer's fault. at_once: head and body leave in one write."""
        path, headers, length = REFUSED[status]
        head = HEAD.format(path=path) + headers
        head += f"content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        reader, writer = await asyncio.open_connection(self._host, self._port)
        body = b"x" * min(length, 400_000)  # more than fits into HAProxy's buffer
        try:
            if at_once:
                writer.write(head.encode() + body)
            else:
                writer.write(head.encode())
                await writer.drain()
                writer.write(body)
            return await asyncio.wait_for(_refusal(reader, status), 10)
        except asyncio.IncompleteReadError:
            return "cut off"
        except (OSError, asyncio.TimeoutError) as error:
            return type(error).__name__
        finally:
            writer.close()

    async def _kill(self, title: str) -> Counter[str]:
        """Kill the process, and wait for another one in its place."""
        before = {item.pid for item in _processes(title)}
        os.kill(max(before), signal.SIGKILL)  # an older HAProxy only finishes its requests
        until = time.monotonic() + LONGEST_S
        while {item.pid for item in _processes(title)} <= before:
            if time.monotonic() > until:
                return Counter({"not replaced": 1})
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        return Counter(killed=1)


async def _answer(host: str, port: int, source: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def hold_heads(host: str, port: int, source: str, connections: int, seconds: float) -> int:
    """Keep so many unfinished heads open; return the number of connections that it took."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    until, opened = time.monotonic() + seconds, 0

    async def hold() -> None:
        nonlocal opened
        while time.monotonic() < until:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
                opened += 1
                writer.write(HEAD.format(path="/v1/detect").encode() + b"x: ")
                await _trickle(reader, writer, until)
                writer.close()

    async def hold_all() -> None:
        await asyncio.gather(*(hold() for _ in range(connections)))

    asyncio.run(hold_all())
    return opened


async def _trickle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float
) -> None:
    """Send a byte every two seconds, until the server ends the connection."""
    while time.monotonic() < until:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(100), 2)
            return
        writer.write(b"x")


async def _refusal(reader: asyncio.StreamReader, status: int) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(f"HTTP/1.1 {status} ".encode()):
        return head[:20].decode(errors="replace")
    (length,) = (
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return "whole"


def _processes(title: str) -> list[Process]:
    return [item for item in descendants(os.getpid()) if item.title == title]


def _memory_mib() -> float:
    """The RSS of the HAProxy that has the most."""
    found = [memory_of(item.pid) for item in _processes("haproxy")]
    return max((memory.rss_mib for memory in found if memory), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--expecting", type=int, default=20_000, help="requests that are refused")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--only", nargs="+", help="parts of the names of the attacks wanted")
    parser.add_argument("--name", default="attacks", help="of the results")
    options = parser.parse_args()
    with own_graph(read_serve_file(options.config)) as graph:
        rows = asyncio.run(Attacks(graph.url, options).all())
    report(
        options.name,
        "Attacks on HAProxy beside honest clients",
        COLUMNS,
        [row.columns() for row in rows],
        draw=lambda axes: draw_bars(axes, [(row.attack, row.away_s) for row in rows], "s away"),
        raw=[{"attack": row.attack, "outcomes": row.outcomes} for row in rows],
    )


if __name__ == "__main__":
    main()
