"""The `facegraph` command, as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.profiles import ROOT


def facegraph(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "graph.commands.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_config_check_accepts_the_shipped_file() -> None:
    done = facegraph("config", "check")
    assert (done.returncode, done.stdout.strip()) == (0, "serve_config.yaml: ok")


def test_config_check_and_serve_refuse_a_misspelt_key_by_its_path(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    content["applications"][0]["deployments"][1]["max_ongoing_request"] = 3
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    for command in (["config", "check"], ["serve"]):
        done = facegraph(*command, file)
        assert done.returncode == 1
        assert "applications[0].deployments[1].max_ongoing_request: unknown key" in done.stderr


def test_config_show_fills_in_the_defaults() -> None:
    shown = yaml.safe_load(facegraph("config", "show").stdout)
    assert shown["detector"]["nms_iou"] == 0.4
    assert shown["recognizers"]["arcface"]["model"] == "arcface-mbf"


def test_config_check_lists_its_faults_as_json(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("applications: []\n")
    done = facegraph("config", "check", file, "--json")
    fault = f"{file}: applications: none has import_path graph.app:build_app"
    assert (done.returncode, json.loads(done.stdout)) == (
        1,
        {"file": str(file), "ok": False, "faults": [fault]},
    )


def test_config_show_of_a_wrong_file_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("applications: []\n")
    done = facegraph("config", "show", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == f"{file}: applications: none has import_path graph.app:build_app"


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
