"""`facegraph models`, as a user calls it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from configs.catalogue import CATALOGUE
from deployments.weights.checksums import write_checksums
from deployments.weights.find import package_file
from graph.commands.models import models_app
from tests.deployments.weights.test_hub import WEIGHTS, running_hub
from tests.support.photos import photo_path

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
DEFAULT_WEIGHTS = photo_path("w600k_mbf.onnx")  # beside the photos


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FACEGRAPH_MODELS."""
    monkeypatch.setenv("FACEGRAPH_MODELS", str(tmp_path / "models"))
    for variable in ("MODELSCOPE_HOME", "MODELSCOPE_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "modelscope"))
    return tmp_path / "models"


@pytest.fixture
def rts(models: Path) -> Path:
    """RTS's weights, `abc`, with their recorded checksum."""
    folder = models / "rts"
    folder.mkdir(parents=True)
    (folder / "pytorch_model.pt").write_bytes(b"abc")
    write_checksums(folder, ["pytorch_model.pt"])
    return folder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(models_app, arguments, env={"COLUMNS": "300"})


def answer(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


def test_every_model_is_listed_with_its_licence_and_weights(rts: Path) -> None:
    done = call("list")
    assert done.exit_code == 0
    heads, *rows = done.stdout.splitlines()
    assert heads.split() == ["id", "weights", "commercial", "numbers", "what", "licence"]
    lines = {row.split()[0]: row for row in rows}
    assert set(lines) == set(CATALOGUE)
    for model in CATALOGUE.values():
        assert model.title in lines[model.id]
        assert model.licence in lines[model.id]
    there = {name for name, one in CATALOGUE.items() if one.package and package_file(one.package)}
    assert {"retinaface-mnet025", "scrfd-500m", "arcface-mbf"} <= there
    assert {name: line.split()[1] for name, line in lines.items()} == {
        name: "there" if name in there | {"rts"} else "missing" for name in CATALOGUE
    }


def test_the_list_tells_commercial_use_and_the_embeddings_length() -> None:
    lines = {row.split()[0]: row.split()[2:4] for row in call("list").stdout.splitlines()}
    assert lines["retinaface-mnet025"] == ["yes", "-"]
    assert lines["arcface-mbf"] == ["no", "512"]
    assert lines["dlib-resnet29"] == ["yes", "128"]
    assert lines["rts"] == ["?", "512"]


def test_the_list_as_json_has_a_path_for_each_model_or_none(rts: Path) -> None:
    models = {model["id"]: model for model in answer("list")}
    assert list(models) == list(CATALOGUE)
    assert models["rts"] == {
        "id": "rts",
        "what": "recognizer: RTS, embedding and uncertainty, IR-SE 64 layers",
        "licence": CATALOGUE["rts"].licence,
        "modelscope": "damo/cv_ir_face-recognition-ood_rts",
        "path": str(rts / "pytorch_model.pt"),
        "commercial_use": None,
        "threshold": CATALOGUE["rts"].threshold,
        "threshold_source": CATALOGUE["rts"].threshold_source,
        "embedding_size": 512,
        "sha256": None,
    }
    assert models["facemask"]["path"] is None


def test_the_path_is_the_file_that_would_be_loaded(rts: Path) -> None:
    done = call("path", "rts")
    assert (done.exit_code, done.stdout) == (0, f"{rts / 'pytorch_model.pt'}\n")
    assert answer("path", "arcface-mbf") == {"id": "arcface-mbf", "path": str(DEFAULT_WEIGHTS)}


def test_a_path_that_is_missing_says_where_it_looked_and_what_fetches_it(models: Path) -> None:
    done = call("path", "rts")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"rts: no pytorch_model.pt; looked at {models}/rts/pytorch_model.pt" in done.stderr
    assert str(CATALOGUE["rts"].fetch_command) in done.stderr
    found = answer("path", "rts")
    assert (found["id"], found["path"]) == ("rts", None)
    assert found["error"] in done.stderr


@pytest.mark.parametrize("command", ["path", "pull", "verify"])
def test_an_unknown_model_is_a_usage_error_that_lists_the_known(command: str) -> None:
    done = call(command, "arcface")
    assert done.exit_code == 2
    assert "no model 'arcface'" in done.stderr
    assert "arcface-ir50" in done.stderr


def test_recorded_weights_are_verified(rts: Path) -> None:
    assert call("verify", "rts").exit_code == 0
    file = str(rts / "pytorch_model.pt")
    expected = {"model": "rts", "file": file, "state": "ok", "expected": ABC, "found": ABC}
    assert answer("verify", "rts") == [expected]


@pytest.mark.parametrize("ids", [[], ["rts"]])
def test_a_changed_file_fails_the_check(rts: Path, ids: list[str]) -> None:
    (rts / "pytorch_model.pt").write_bytes(b"abd")
    done = call("verify", *ids)
    assert done.exit_code == 1
    line = next(line for line in done.stdout.splitlines() if f"{rts}/" in line)
    assert line.split() == ["rts", "changed", f"{rts}/pytorch_model.pt"]
    assert "changed" in [file["state"] for file in answer("verify", *ids)]


def test_a_recorded_file_that_is_gone_fails_the_check(rts: Path) -> None:
    (rts / "pytorch_model.pt").unlink()
    assert call("verify").exit_code == 1
    assert [file["state"] for file in answer("verify", "rts")] == ["missing"]


def test_weights_beside_a_record_of_others_fail_the_check(rts: Path) -> None:
    (rts / "model.safetensors").write_bytes(b"abc")
    assert call("verify", "rts").exit_code == 1
    assert [file["state"] for file in answer("verify", "rts")] == ["ok", "unlisted"]


def test_a_record_without_the_weights_fails_the_check(rts: Path) -> None:
    (rts / "pytorch_model.pt").unlink()
    (rts / "configuration.json").write_bytes(b"{}")
    write_checksums(rts, ["configuration.json"])
    assert call("verify").exit_code == 1
    assert [file["state"] for file in answer("verify", "rts")] == ["ok", "missing"]


def test_a_record_that_cannot_be_read_fails_the_check_with_its_line(rts: Path) -> None:
    (rts / "SHA256SUMS").write_text("abc\n")
    done = call("verify")
    assert done.exit_code == 1
    assert "SHA256SUMS: line 1: expected a SHA-256 and a file name" in done.stderr
    assert [file["state"] for file in answer("verify", "rts")] == ["unreadable"]


def test_weights_without_a_record_pass_and_absent_ones_only_where_nobody_asked_for_them(
    models: Path,
) -> None:
    done = call("verify")
    assert done.exit_code == 0
    states = {file["model"]: file["state"] for file in answer("verify")}
    assert states["arcface-mbf"] == "unrecorded"
    assert states["facemask"] == "absent"
    assert call("verify", "facemask").exit_code == 1
    assert answer("verify", "facemask") == [
        {
            "model": "facemask",
            "file": str(models / "facemask" / "pytorch_model.pt"),
            "state": "missing",
            "expected": None,
            "found": None,
        }
    ]


def test_a_pull_says_what_it_fetched_where_and_under_which_licence(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_hub({"pytorch_model.pt": WEIGHTS}) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        fetched, present, again = (
            call("pull", "rts", *options) for options in ([], [], ["--again"])
        )
    where = f"rts: pytorch_model.pt in {models}/rts"
    assert f"{where} (fetched)\nrts: licence: {CATALOGUE['rts'].licence}\n" in fetched.stdout
    assert f"{where} (already there; --again fetches it anew)" in present.stdout
    assert f"{where} (fetched)" in again.stdout
    assert call("verify", "rts").exit_code == 0


def test_a_pull_that_fails_for_one_model_goes_on_with_the_next(rts: Path) -> None:
    done = call("pull", "arcface-mbf", "rts")
    assert done.exit_code == 1
    assert "arcface-mbf is not on ModelScope" in done.stderr
    assert f"rts: pytorch_model.pt in {rts} (already there" in done.stdout


def test_changed_weights_are_not_called_already_there(rts: Path) -> None:
    (rts / "pytorch_model.pt").write_bytes(b"")
    done = call("pull", "rts")
    assert done.exit_code == 1
    assert "facegraph models pull --again rts" in done.stderr


def test_the_models_of_a_configuration_are_listed_too(tmp_path: Path) -> None:
    content: Any = yaml.safe_load(Path("serve_config.yaml").read_text())
    entry = {
        "kind": "recognizer",
        "title": "our own",
        "weights_file": str(DEFAULT_WEIGHTS),
        "preprocessing": {"mean": [127.5] * 3, "scale": 127.5, "rgb": True},
        "licence": "ours",
        "threshold": 0.4,
        "threshold_source": "measured",
    }
    content["applications"][0]["args"]["models"] = {"own": entry}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(content))
    [own] = [one for one in answer("list", "--config", str(file)) if one["id"] == "own"]
    assert own["path"] == str(DEFAULT_WEIGHTS)
    assert own["threshold_source"] == "measured"
    content["applications"][0]["args"]["models"]["own"]["threshold"] = 4
    file.write_text(yaml.safe_dump(content))
    failed = call("list", "--config", str(file))
    assert failed.exit_code
    assert "models.own.threshold" in failed.output + str(failed.exception)
