"""Exit codes of the commands, and the words for each failure that is told before any work."""

import json
import os
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.support.photos import YAOMING, photo_path
from tests.support.profiles import ROOT
from tests.support.terminal import facegraph
from tests.support.waiting import TIMEOUT_S

MAN = photo_path(YAOMING)
COMMAND = [sys.executable, "-m", "graph.commands.main"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of pairs whose photos are missing, a Serve config with a fault, an empty folder."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "pairs.csv").write_text("a,b,same\nx.jpg,y.jpg,1\nx.jpg,z.jpg,0\n")
    (folder / "templates.csv").write_text("photo,template,medium\nx.jpg,1,1\ny.jpg,2,2\n")
    (folder / "template_pairs.csv").write_text("template_a,template_b,same\n1,2,0\n1,1,1\n")
    (folder / "boxes.txt").write_text("0--Parade/x.jpg\n1\n10 10 40 40 0 0 0 0 0 0\n")
    content = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    content["applications"][0]["args"]["detector"] = {"runtime": "openvno"}
    (folder / "fault.yaml").write_text(yaml.safe_dump(content))
    (folder / "empty").mkdir()
    return folder


FAULT = "applications[0].args.detector.runtime: expected 'auto', 'onnxruntime', 'openvino' or"
FAILURES = [
    ("modles", 2, "Did you mean 'models'?"),
    ("compare MAN", 2, "Missing argument 'target'"),
    ("compare MAN none.jpg", 2, "'none.jpg' does not exist"),
    ("compare MAN empty", 2, "'empty' is a directory"),
    ("compare MAN MAN --facs all", 2, "--faces"),
    ("compare MAN MAN --threshold 2", 2, "Invalid value for '--threshold'"),
    ("compare MAN MAN --config none.yaml", 2, "none.yaml: there is no such file"),
    ("compare MAN MAN -r arcfase", 2, "no recognizer 'arcfase' (did you mean 'arcface'?)"),
    ("compare MAN MAN --config fault.yaml", 2, FAULT),
    ("detect empty", 2, "'empty' is a directory"),
    ("detect MAN --draw none/faces.png", 2, "there is no folder none"),
    ("detect MAN --draw faces.txt", 2, "ends in .png or .jpg"),
    ("detect MAN --url nowhere", 2, "expected http(s)://host:port"),
    ("demo --out none/pair.png", 2, "there is no folder none"),
    ("demo --out pair.txt", 2, "ends in .png or .jpg"),
    ("embed none --out faces.parquet", 2, "'none' does not exist"),
    ("embed empty --out none/faces.parquet", 2, "there is no folder none"),
    ("embed empty --out faces.parquet", 2, "empty: no photo"),
    ("evaluate verification none.csv", 2, "none.csv: No such file or directory"),
    ("evaluate verification pairs.csv", 2, "none of the 3 photos is there, such as x.jpg"),
    ("evaluate verification pairs.csv --far 2", 2, "far: Input should be less than 1"),
    ("evaluate verification pairs.csv --out pairs.csv/report", 2, "pairs.csv is not a folder"),
    ("evaluate verification pairs.csv --write-threshold none.yaml", 2, "does not exist"),
    (
        "evaluate verification pairs.csv --write-threshold fault.yaml --out .",
        2,
        "fault.yaml: lies in",
    ),
    (
        "evaluate templates templates.csv template_pairs.csv",
        2,
        "none of the 2 photos is there, such as x.jpg",
    ),
    ("evaluate detection none.txt empty", 2, "none.txt: No such file or directory"),
    (
        "evaluate detection boxes.txt empty",
        2,
        "none of the 1 photos is there, such as empty/0--Parade/x.jpg",
    ),
    ("plan --rps inf", 2, "Invalid value for '--rps'"),
    ("plan --rps 5 --save times.json", 2, "need --measure"),
    ("plan --rps 5 --photos MAN MAN", 2, "need --measure"),
    ("plan --rps 5 --requests 3", 2, "need --measure"),
    ("plan --rps 5 --measure --photos MAN none.jpg", 2, "'none.jpg' does not exist"),
    ("plan --rps 5 --measure --save none/times.json", 2, "there is no folder none"),
    ("plan --rps 5 --measure --times pairs.csv", 2, "exclude each other"),
    ("plan --rps 5 --times none.json", 2, "'none.json' does not exist"),
    ("plan --rps 5 --cost Detectr=1", 2, "no stage 'Detectr' (did you mean 'Detector'?)"),
    ("config check none.yaml", 2, "none.yaml: there is no such file"),
    ("config show fault.yaml", 2, FAULT),
    ("models pull arcface-ir5", 2, "no model 'arcface-ir5' (did you mean 'arcface-ir50'?)"),
    ("models verify nobody", 2, "no model 'nobody'; there are retinaface-mnet025"),
    ("doctor none.yaml", 2, "none.yaml: there is no such file"),
    ("serve serve_config.yaml", 2, "serve_config.yaml: there is no such file"),
    ("serve none.yaml", 2, "none.yaml: there is no such file"),
    ("serve --max-restarts -1", 2, "Invalid value for '--max-restarts'"),
    ("serve --restart-delay -1", 2, "Invalid value for '--restart-delay'"),
    ("serve --healthy-after inf", 2, "Invalid value for '--healthy-after'"),
    ("config check fault.yaml", 1, FAULT),
    ("models path frfm", 1, "facegraph models pull frfm"),
]
ANSWERS = ["config check", "config show", "models list", "models path arcface-mbf", "plan --rps 5"]


@pytest.mark.parametrize(("line", "code", "words"), FAILURES)
def test_a_failure_has_its_exit_code_and_words(
    line: str,
    code: int,
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    arguments = [str(MAN) if word == "MAN" else word for word in line.split()]
    done = facegraph(*arguments, COLUMNS="300", FACEGRAPH_MODELS=str(folder))
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    if code == 1 or arguments[0] in ("serve", "demo"):
        return
    as_json = facegraph(*arguments, "--json", COLUMNS="300")
    error = as_json.json["error"]
    assert (as_json.code, set(error)) == (2, {"code", "message", "details"})
    assert words in error["message"]


def test_serve_names_a_fault_of_its_file_and_does_not_start_again(folder: Path) -> None:
    """It checks the file in a process of its own, whose output the runner above does not see."""
    done = subprocess.run(
        [*COMMAND, "serve", "fault.yaml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    starting, fault = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert starting.startswith("Starting the graph of fault.yaml")
    assert FAULT in fault


@pytest.mark.parametrize("line", ANSWERS)
def test_a_command_that_is_done_exits_0(line: str) -> None:
    done = facegraph(*line.split(), "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json


def test_the_version_is_the_packages() -> None:
    assert facegraph("--version").out == f"facegraph {version('facegraph')}\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("models list", ""),
        ("models list --json", ""),
        ("config reference", ""),
        ("detect MAN --url nowhere --json", "url: expected http(s)://host:port, got 'nowhere'\n"),
    ],
)
def test_a_reader_of_stdout_that_has_gone_ends_a_command_in_order(line: str, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [str(MAN) if word == "MAN" else word for word in line.split()]
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (2, words)


def test_ctrl_c_ends_a_command_quietly_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = subprocess.Popen(
            [*COMMAND, "detect", str(MAN), "--url", url],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            # Where the tests run in the background of a shell script, it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        connection, _ = silent.accept()  # the command waits for an answer
        with connection:
            command.send_signal(signal.SIGINT)
            _, errors = command.communicate(timeout=TIMEOUT_S)
    assert (command.returncode, errors) == (130, b"")


def test_an_error_as_json_is_all_that_stdout_gets() -> None:
    done = subprocess.run(
        [*COMMAND, "compare", "none.jpg", str(MAN), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert json.loads(done.stdout)["error"]["code"] == "invalid_request"
    assert "does not exist" in done.stderr
