"""The configuration's commands, and `facegraph` as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.profiles import ROOT
from tests.support.terminal import facegraph


def test_config_check_accepts_the_shipped_file() -> None:
    done = facegraph("config", "check")
    assert (done.code, done.out.strip()) == (0, "serve_config.yaml: ok")


def test_config_check_and_serve_refuse_a_misspelt_key_by_its_path(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    content["applications"][0]["deployments"][1]["max_ongoing_request"] = 3
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    checked = facegraph("config", "check", file, COLUMNS="300")
    command = [sys.executable, "-m", "graph.commands.main", "serve", str(file)]
    served = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    for code, errors in (checked.code, checked.err), (served.returncode, served.stderr):
        assert code == 1
        assert "applications[0].deployments[1].max_ongoing_request: unknown key" in errors


def test_config_show_fills_in_the_defaults() -> None:
    shown = yaml.safe_load(facegraph("config", "show").out)
    assert shown["detector"]["nms_iou"] == 0.4
    assert shown["recognizers"]["arcface"]["model"] == "arcface-mbf"


def test_config_check_lists_its_faults_as_json(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("applications: []\n")
    done = facegraph("config", "check", file, "--json")
    fault = f"{file}: applications: none has import_path graph.app:build_app"
    assert (done.code, done.json) == (1, {"file": str(file), "ok": False, "faults": [fault]})


def test_config_show_of_a_wrong_file_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("applications: []\n")
    done = facegraph("config", "show", file, COLUMNS="300")
    assert (done.code, done.out) == (2, "")
    assert done.err.strip() == f"{file}: applications: none has import_path graph.app:build_app"


def test_another_folders_commands_find_the_file_that_facegraph_came_with(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graph.commands.main", "config", "show", "--json"]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=path
    )
    assert json.loads(done.stdout)["detector"]["model"] == "retinaface-mnet025"


def test_the_reader_of_stdout_may_go_away() -> None:
    command = f"{sys.executable} -m graph.commands.main models list --json | head -c 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[", "")
