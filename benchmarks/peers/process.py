"""A peer's process: started, awaited until ready, and ended."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from graph.cluster.preflight import free_port

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Peer:
    """A module of benchmarks/peers with its arguments. slow: it gets little load."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    slow: bool = False


@contextmanager
def running_peer(peer: Peer) -> Iterator[str]:
    """Run a server on a free port. Yields its URL once it is ready."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    module = f"benchmarks.peers.{peer.module}"
    command = [sys.executable, "-W", "ignore", "-m", module, "--port", str(port)]
    process = subprocess.Popen([*command, *peer.arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, url, peer)
        yield url
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, peer: Peer) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{peer.name} ended with {process.returncode}, see above")
        try:
            if httpx.get(f"{url}/healthz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"{peer.name} was not ready after {READY_TIMEOUT_S} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
