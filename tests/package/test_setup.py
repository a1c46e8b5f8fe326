""".ci/setup refuses a machine that cannot run FaceGraph at once, in one sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from tests.support.profiles import ROOT

# Modules that a Python finds before its own, so that it behaves as on the machine of the case.
MACHINES = {
    "an old Python": (
        "sitecustomize",
        "import sys; sys.version_info = (3, 9, 18)",
        "python3 is older than Python 3.10: name a newer one, as in make setup PYTHON=python3.12",
    ),
    "Debian without python3-venv": (
        "ensurepip",
        "raise ImportError",
        "python3 has no venv module: apt-get install python3-venv",
    ),
    "no OpenCV libraries": (
        "ctypes",
        "def CDLL(name): raise OSError(name)",
        "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0",
    ),
}


def refusal(checkout: Path, **variables: str) -> str:
    """The text that `.ci/setup` prints on stderr; it installs nothing."""
    copytree(ROOT / ".ci", checkout / ".ci")
    python = checkout / "python3"
    python.symlink_to(sys.executable)
    done = subprocess.run(
        [".ci/setup", ".venv", "-e", "."],
        cwd=checkout,
        env={"PATH": f"{checkout}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert not (checkout / ".venv").exists()
    return done.stderr


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_that_cannot_run_it_is_refused_at_once(machine: str, tmp_path: Path) -> None:
    module, code, message = MACHINES[machine]
    (tmp_path / f"{module}.py").write_text(code)
    assert refusal(tmp_path, PYTHONPATH=str(tmp_path)) == f"setup: {message}\n"


def test_a_machine_without_python_is_refused_at_once(tmp_path: Path) -> None:
    message = "setup: no python3.99: apt-get install python3 python3-venv\n"
    assert refusal(tmp_path, PYTHON="python3.99") == message


def test_a_checkout_under_a_path_with_a_space_is_refused_at_once(tmp_path: Path) -> None:
    checkout = tmp_path / "my projects"
    assert refusal(checkout) == (
        f"setup: Ray cannot run from a path with a space: move the checkout out of '{checkout}'\n"
    )


def test_the_modules_that_it_imports_leave_nothing_in_the_home(tmp_path: Path) -> None:
    script = (ROOT / ".ci" / "setup").read_text()
    (code,) = re.findall(r"-c '(import .*openvino.*)'", script)
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
