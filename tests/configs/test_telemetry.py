"""The stages, used as in a notebook, contact no other machine, and write only where
docs/biometric-data.md says. tests/package/test_distributions.py watches a server."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.profiles import ROOT
from tests.support.system_calls import Trace, strace

# The work of a notebook. ONNX Runtime sends its events nine seconds after its import.
STAGES = """
import time
import numpy as np
from deployments.detector import load_detector
from deployments.recognizer import load_recognizer

for runtime in ("openvino", "onnxruntime"):
    load_detector(runtime=runtime).detect(np.zeros((64, 64, 3), np.uint8))
    load_recognizer(runtime=runtime).embed(np.zeros((1, 112, 112, 3), np.uint8))
time.sleep(12)
"""
# Never contacted: the block of addresses is for documentation.
FOREIGN = "203.0.113.1"


def run(folder: Path, *arguments: str) -> Trace:
    """Python with these arguments as a new user runs it: nothing in the home folder, and none of
    the variables by which libraries know CI's machines, where they send nothing."""
    environment = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    (folder / "home").mkdir()
    return strace([sys.executable, *arguments], folder=folder, environment=environment)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    trace = run(tmp_path_factory.mktemp("notebook"), "-c", STAGES)
    assert trace.code == 0, trace.output
    return trace


def test_no_other_machine_is_contacted(notebook: Trace) -> None:
    contacts = notebook.contacts()
    assert not contacts, "\n".join(contacts)


def test_files_are_written_only_in_the_documented_folder(notebook: Trace) -> None:
    cache = notebook.folder / "home" / ".cache" / "facegraph"
    assert cache / "openvino" in notebook.written()
    elsewhere = notebook.written_elsewhere(cache)
    assert not elsewhere, "\n".join(elsewhere)


def test_the_watch_sees_a_name_that_is_looked_up(tmp_path: Path) -> None:
    look_up = "import contextlib, socket\nwith contextlib.suppress(OSError):\n"
    look_up += "    socket.getaddrinfo('facegraph.invalid', 443)"
    contacts = run(tmp_path, "-c", look_up).contacts()
    assert any(r"\tfacegraph\7invalid" in call for call in contacts), contacts


def test_the_watch_sees_a_connection_and_no_socket_that_sends_nothing(tmp_path: Path) -> None:
    connect = "import socket, sys\ns = socket.socket(type=getattr(socket, sys.argv[1]))\n"
    connect += f"s.setblocking(False)\ns.connect_ex(('{FOREIGN}', 443))"
    found = {}
    for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
        (tmp_path / kind).mkdir()
        found[kind] = run(tmp_path / kind, "-c", connect, kind).contacts()
    assert [FOREIGN in call for call in found["SOCK_STREAM"]] == [True]
    assert found["SOCK_DGRAM"] == []


def test_the_watch_sees_files_that_other_processes_write(tmp_path: Path) -> None:
    write = "import os, subprocess\nos.mkdir('new')\n"
    write += "subprocess.run(['sh', '-c', 'echo > new/a; mv new/a new/b'], check=True)"
    new = tmp_path / "new"
    assert {new, new / "a", new / "b"} <= run(tmp_path, "-c", write).written()
