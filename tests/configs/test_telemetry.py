"""FaceGraph contacts no other machine, and writes only where docs/biometric-data.md says."""

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.profiles import ROOT
from tests.support.system_calls import Trace, strace

DEMO = ("-m", "graph.commands.main", "demo")
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
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in ("demo", "stages")}


@pytest.fixture(scope="module")
def runs(folders: dict[str, Path]) -> Iterator[dict[str, "Future[Trace]"]]:
    """The demo, and a notebook that uses `deployments` alone; both at the same time."""
    with ThreadPoolExecutor() as threads:
        yield {
            "demo": threads.submit(run, folders["demo"], *DEMO),
            "stages": threads.submit(run, folders["stages"], "-c", STAGES),
        }


@pytest.mark.parametrize("name", ["stages", "demo"])
def test_no_other_machine_is_contacted(runs: dict[str, "Future[Trace]"], name: str) -> None:
    trace = runs[name].result()
    assert trace.code == 0, trace.output
    contacts = trace.contacts()
    assert not contacts, "\n".join(contacts)


@pytest.mark.parametrize("name", ["stages", "demo"])
def test_files_are_written_only_in_the_documented_folders(
    runs: dict[str, "Future[Trace]"], folders: dict[str, Path], name: str
) -> None:
    trace = runs[name].result()
    assert trace.code == 0, trace.output
    home, current = folders[name] / "home", folders[name]
    documented = [home / ".cache" / "facegraph", home / ".ray" / "auth_token", current / "demo.png"]
    written = trace.written()
    assert home / ".cache" / "facegraph" / "openvino" in written
    elsewhere = {
        str(path)
        for path in written
        if not any(path.is_relative_to(place) or path in place.parents for place in documented)
        and not _is_temporary(path, current)
    }
    assert not elsewhere, "\n".join(sorted(elsewhere))


def _is_temporary(path: Path, current: Path) -> bool:
    """True for a temporary file, shared memory or a device that is not below `current`."""
    places = (tempfile.gettempdir(), "/dev", "/proc")
    return not path.is_relative_to(current) and any(map(path.is_relative_to, places))


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
