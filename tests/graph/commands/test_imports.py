"""Modules that commands and the clients do not load, each seen in an interpreter of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.extras import install_command
from tests.support.profiles import ROOT

# An import of cv2 raises ImportError, as it does where OpenCV's system libraries are missing.
WITHOUT_OPENCV = "import sys; sys.modules['cv2'] = None"
EVERY_HELP = """
import json
from typer.testing import CliRunner
from graph.commands.main import app
from tests.support.terminal import commands

names = ["", "config", "models", "evaluate", "keys", *commands()]
runner = CliRunner()
codes = {name: runner.invoke(app, [*name.split(), "--help"]).exit_code for name in names}
print(json.dumps(codes))
"""


def python(*code: str, arguments: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "\n".join(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def loaded(*code: str) -> set[str]:
    """The top-level modules that are loaded after `code`."""
    modules = "print(*{name.partition('.')[0] for name in sys.modules})"
    done = python("import sys", *code, modules)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_command_line_loads_no_heavy_library() -> None:
    heavy = {"ray", "cv2", "torch", "matplotlib", "onnxruntime", "openvino", "pyarrow", "starlette"}
    assert not heavy & loaded("import graph.commands.main")


@pytest.mark.parametrize("code", ["from graph import FaceGraph", "import graph.client.http"])
def test_the_client_loads_neither_the_server_nor_ray(code: str) -> None:
    server = {"ray", "starlette", "python_multipart", "multipart", "cv2"}
    assert not server & loaded(code)


def test_every_help_is_shown_without_opencv() -> None:
    done = python(WITHOUT_OPENCV, EVERY_HELP)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert {"doctor", "evaluate detection", "keys new"} <= set(codes)
    assert set(codes.values()) == {0}


@pytest.mark.parametrize("options", [("--quick",), ("--quick", "--json")])
def test_doctor_reports_that_opencv_is_missing(options: tuple[str, ...]) -> None:
    main = "from graph.commands.main import app; app()"
    done = python(WITHOUT_OPENCV, main, arguments=("doctor", *options))
    assert (done.returncode, done.stderr) == (1, "")
    assert "fault" in done.stdout
    assert "apt-get install libgl1" in done.stdout


def test_a_command_that_needs_opencv_says_so_in_words(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"")
    main = "from graph.commands.main import app; app()"
    arguments = ("detect", str(photo), "--draw", "out.png", "--json")
    done = python(WITHOUT_OPENCV, main, arguments=arguments)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "not_installed"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "extra", "line"),
    [
        ("pyarrow", "embed", "embed tests --out faces.parquet"),
        ("matplotlib", "evaluation", "evaluate verification pairs.csv"),
        ("jinja2", "evaluation", "evaluate verification pairs.csv"),
        ("psycopg", "gallery", "gallery migrate"),
    ],
)
def test_a_command_without_its_extra_tells_how_to_install_it(
    module: str, extra: str, line: str
) -> None:
    hide = f"import sys; sys.modules[{module!r}] = None"
    main = "from graph.commands.main import app; app()"
    done = python(hide, main, arguments=tuple(line.split()))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().endswith(f": {install_command(extra)}")
