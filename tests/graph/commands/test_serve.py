"""`facegraph serve --clusters` as a user starts and stops it: clusters beside each other."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import httpx
import pytest
import yaml

from graph.cluster.preflight import free_port
from graph.cluster.serve_file import read_serve_file
from tests.support.processes import descendant, listeners, processes_of
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S, wait_until

COMMAND = [sys.executable, "-m", "graph.commands.main", "serve"]
STAGES = ["Aggregator", "Aligner", "Detector", "Ingress", "Recognizer:arcface"]
# Prints the error of each connection, or else the cluster that it joined and the served pools.
CONNECT = """
import json, os, sys
import ray
from deployments.errors import ModelUnavailable
from graph import FaceGraph

for variables, options in json.loads(sys.argv[1]):
    os.environ.update(variables)
    try:
        served = FaceGraph.connect(**options).models()
        print(ray.get_runtime_context().gcs_address, *served.default_recognizers)
    except ModelUnavailable as error:
        print(error.message)
"""


@pytest.fixture
def longest_folder() -> Iterator[str]:
    """A temporary folder whose path is as long as the sockets in it allow."""
    with TemporaryDirectory(prefix="19-cha", dir="/tmp") as folder:
        assert len(folder) == 19
        yield folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """serve_config.yaml with one ingress replica, which starts sooner than two."""
    content = read_serve_file(ROOT / "serve_config.yaml")
    ingress, *_ = content["applications"][0]["deployments"]
    ingress["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 1}
    file = tmp_path / "serve_config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@contextmanager
def serving(
    config: Path, port: int, temporary: str, *options: str
) -> Iterator["subprocess.Popen[str]"]:
    """A server that is started as in the background of a shell script, which ignores SIGINT."""
    process = subprocess.Popen(
        [*COMMAND, config.name, "--port", str(port), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=config.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": temporary},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # killed, it would leave HAProxy


def start_lines(output: IO[str], prefix: str = "") -> list[str]:
    """The lines up to the one that tells that the graph is ready, without the prefix, with which
    all begin. Those on a stage that takes long are left out, because they come on a slow machine
    only."""
    lines = []
    for line in output:
        assert line.startswith(prefix)
        sentence = line.removeprefix(prefix).rstrip()
        if not re.match(r"\S+ is not ready yet: ", sentence):
            lines.append(sentence)
        if sentence.startswith("Ready after "):
            break
    return lines


def start(server: "subprocess.Popen[str]", port: int, prefix: str = "") -> tuple[str, str]:
    """The address and the folder of a cluster that is starting, whose lines are checked."""
    assert server.stdout
    first, licence, ray, serve, *stages, ready = start_lines(server.stdout, prefix)
    assert first.startswith("Starting the graph of serve_config.yaml, which usually takes")
    assert licence == "Not for commercial use, by the weights' licence: arcface-mbf"
    assert re.fullmatch(r"Ray Serve ready after [\d.]+ s", serve)
    assert sorted(line.partition(" ready after ")[0] for line in stages) == STAGES
    page = f"http://127.0.0.1:{port}"
    assert re.fullmatch(rf"Ready after [\d.]+ s: .* {page}/, .* {page}/docs; Ctrl-C .*", ready)
    assert httpx.get(f"{page}/readyz", timeout=TIMEOUT_S).status_code == 200
    return cluster_of(ray)


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
    # Serve warns of replicas that are slow to answer, as on a busy machine.
    told = [line for line in done.stderr.splitlines() if "Failed to get queue length" not in line]
    assert (done.returncode, told) == (0, [])
    return done.stdout.splitlines()


def cluster_of(line: str) -> tuple[str, str]:
    """The address of a cluster and its folder, from the line which tells that it is ready."""
    found = re.fullmatch(r"Ray ready after [\d.]+ s: address (\S+), logs in (\S+)/session.*", line)
    assert found, line
    address, folder = found.groups()
    return address, folder


def test_clusters_beside_each_other_answer_for_each_other_and_stop_without_a_trace(
    longest_folder: str, config: Path
) -> None:
    port = free_port()
    with serving(config, port, longest_folder, "--clusters", "2") as server:
        assert server.stdout
        started = {n: start(server, port, f"cluster {n}: ") for n in (1, 2)}
        folders = {n: folder for n, (_, folder) in started.items()}
        assert all(len(processes_of(folder)) > 8 for folder in folders.values())
        assert listeners(port) == 1
        refuses_the_port(port)
        are_found_by_their_addresses(*(address for address, _ in started.values()))

        os.kill(descendant(server.pid, "/raylet"), signal.SIGKILL)
        lost = re.match(r"cluster (\d): The Ray cluster has ended: .*", server.stdout.readline())
        assert lost
        number = int(lost[1])
        again = "Starting the graph again: restart 1 of at most 5 in a row"
        assert server.stdout.readline() == f"cluster {number}: {again}\n"
        ended = folders.pop(number)
        assert (processes_of(ended), Path(ended).exists()) == ([], False)
        page = f"http://127.0.0.1:{port}/readyz"
        codes = [httpx.get(page, timeout=TIMEOUT_S).status_code for _ in range(9)]
        assert codes == [200] * 9
        folders[number] = start(server, port, f"cluster {number}: ")[1]
        assert listeners(port) == 1

        os.kill(server.pid, signal.SIGINT)
        stopping = sorted(server.stdout.read().splitlines())
        assert stopping == [f"cluster {n}: Stopping the graph" for n in (1, 2)]
        assert server.wait(timeout=TIMEOUT_S) == 0
    wait_until(lambda: not any(map(processes_of, folders.values())))
    assert not any(Path(folder).exists() for folder in folders.values())


def test_several_clusters_do_not_start_where_another_server_has_the_port() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        refuses_the_port(other.getsockname()[1], "--clusters", "2")


def test_clusters_that_the_command_does_not_start_are_not_several() -> None:
    line = [*COMMAND, "serve_config.yaml", "--clusters", "2", "--address", "auto"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--clusters is for clusters that this command starts" in done.stderr


def refuses_the_port(port: int, *options: str) -> None:
    line = [*COMMAND, "serve_config.yaml", "--port", str(port), *options]
    again = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"127.0.0.1:{port}: Address already in use; `facegraph serve --port`" in again.stderr


def are_found_by_their_addresses(one: str, other: str) -> None:
    *refused, joined, second = connect(
        ({}, {}), ({"RAY_ADDRESS": "auto"}, {}), ({}, {"address": one}), ({}, {"address": other})
    )
    for message in refused:
        assert {one, other} <= set(re.findall(r"[\d.]+:\d+", message))
    assert joined == f"{one} arcface"
    assert second.startswith(f"this process is on the Ray cluster at {one} and cannot join {other}")
    assert connect(({"RAY_ADDRESS": other}, {})) == [f"{other} arcface"]
