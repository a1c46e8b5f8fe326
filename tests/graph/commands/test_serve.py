"""`facegraph serve` as a user starts and stops it, beside the session's graph."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import httpx
import pytest

from deployments.errors import ModelUnavailable
from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph, free_port
from tests.support.processes import descendant, processes_of
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S, wait_until

COMMAND = [sys.executable, "-m", "graph.commands.main", "serve", "serve_config.yaml"]
STAGES = ["Aggregator", "Aligner", "Detector", "Ingress", "Recognizer:arcface"]
# Prints the error of each connection, or else the served models.
CONNECT = """
import json, os, sys
from deployments.errors import ModelUnavailable
from graph import FaceGraph

for variables, options in json.loads(sys.argv[1]):
    os.environ.update(variables)
    try:
        print(FaceGraph.connect(**options).models())
    except ModelUnavailable as error:
        print(error.message)
"""


@pytest.fixture
def longest_folder() -> Iterator[str]:
    """A temporary folder whose path is as long as the sockets in it allow."""
    with TemporaryDirectory(prefix="19-cha", dir="/tmp") as folder:
        assert len(folder) == 19
        yield folder


@contextmanager
def serving(port: int, temporary: str) -> Iterator["subprocess.Popen[str]"]:
    """A server that is started as in the background of a shell script, which ignores SIGINT."""
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": temporary},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # killed, it would leave HAProxy


def start_lines(output: IO[str]) -> list[str]:
    """The lines up to the one that tells that the server is ready. Those on a stage that takes long
    are left out, because they come on a slow machine only."""
    lines = []
    for line in output:
        if not re.match(r"\S+ is not ready yet: ", line):
            lines.append(line.rstrip())
        if line.startswith("Ready after "):
            break
    return lines


def connect(*connections: tuple[dict[str, str], dict[str, str]]) -> list[str]:
    """The lines that a process prints that connects with these environment variables and options,
    in order."""
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, json.dumps(connections)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def cluster_of(line: str) -> tuple[str, str]:
    """The address of a cluster and its folder, from the line which tells that it is ready."""
    found = re.fullmatch(r"Ray ready after [\d.]+ s: address (\S+), logs in (\S+)/session.*", line)
    assert found, line
    address, folder = found.groups()
    return address, folder


def test_a_graph_is_served_beside_another(running: RunningGraph) -> None:
    port = free_port()
    with TemporaryDirectory(dir="/tmp") as folder, serving(port, folder) as server:
        assert server.stdout
        _, ray, *_ = start_lines(server.stdout)
        address, _ = cluster_of(ray)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200
        refuses_the_port(port)
        is_found_by_its_address(address, running)


def test_a_graph_is_started_again_and_stopped_without_a_trace(longest_folder: str) -> None:
    port = free_port()
    with serving(port, longest_folder) as server:
        assert server.stdout
        first, ray, serve, *stages, ready = start_lines(server.stdout)
        assert first.startswith("Starting the graph of serve_config.yaml, which usually takes")
        _, folder = cluster_of(ray)
        assert re.fullmatch(r"Ray Serve ready after [\d.]+ s", serve)
        assert sorted(line.partition(" ready after ")[0] for line in stages) == STAGES
        page = f"http://127.0.0.1:{port}"
        assert re.fullmatch(rf"Ready after [\d.]+ s: .* {page}/, .* {page}/docs; Ctrl-C .*", ready)
        assert httpx.get(f"{page}/readyz", timeout=60).status_code == 200
        assert len(processes_of(folder)) > 8

        os.kill(descendant(server.pid, "/raylet"), signal.SIGKILL)
        lost, again, _, ray, *_ = start_lines(server.stdout)
        assert re.fullmatch(r"The Ray cluster has ended: its raylet .* with code -9", lost)
        assert again == "Starting the graph again: restart 1 of at most 5 in a row"
        assert (processes_of(folder), Path(folder).exists()) == ([], False)
        assert httpx.get(f"{page}/readyz", timeout=60).status_code == 200
        _, folder = cluster_of(ray)

        os.kill(server.pid, signal.SIGINT)
        assert server.stdout.read() == "Stopping the graph\n"
        assert server.wait(timeout=TIMEOUT_S) == 0
    wait_until(lambda: not processes_of(folder))
    assert not Path(folder).exists()


def refuses_the_port(port: int) -> None:
    again = subprocess.run(
        [*COMMAND, "--port", str(port)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (again.returncode, again.stdout) == (2, "")
    assert f"127.0.0.1:{port}: Address already in use; `facegraph serve --port`" in again.stderr


def is_found_by_its_address(address: str, running: RunningGraph) -> None:
    *refused, joined = connect(({}, {}), ({"RAY_ADDRESS": "auto"}, {}), ({}, {"address": address}))
    for message in refused:
        assert {address, running.address} <= set(re.findall(r"[\d.]+:\d+", message))
    for models in joined, *connect(({"RAY_ADDRESS": address}, {})):
        # the session's has "second"
        assert ("arcface" in models, "second" in models) == (True, False)
    with pytest.raises(ModelUnavailable, match=f"is on the Ray cluster at {running.address}"):
        FaceGraph.connect(address=address)
