"""`facegraph models add`, and the entries that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from configs.catalogue import Model
from deployments.errors import InvalidConfig
from graph.cluster.serve_file import graph_config
from graph.commands.models import models_app
from graph.commands.models_add import with_models
from tests.support.classifiers import save_classifier
from tests.support.photos import photo_path

SHIPPED = Path("serve_config.yaml").read_text()
FACES = Model.model_validate(
    {
        "id": "faces",
        "kind": "detector",
        "title": "ours",
        "weights_file": "faces.onnx",
        "family": "scrfd",
        "preprocessing": {"mean": [127.5] * 3, "scale": 128, "rgb": True},
        "licence": "MIT",
    }
)


def test_entries_are_written_and_nothing_else_changes() -> None:
    once = with_models(SHIPPED, [FACES])
    twice = with_models(once, [FACES.model_copy(update={"id": "more"})])
    assert set(SHIPPED.splitlines()) <= set(twice.splitlines())
    models = graph_config(yaml.safe_load(twice)).models
    assert models == {"faces": FACES, "more": FACES.model_copy(update={"id": "more"})}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_models(SHIPPED, [FACES]), "models.faces: the file has one"),
        (SHIPPED.replace("    args:", "    args:\n      models: {}", 1), "block style"),
        ("applications: []", "none has args"),
    ],
)
def test_a_file_without_a_place_for_them_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        with_models(text, [FACES])


def test_a_folder_gives_the_entries_of_its_detectors_and_recognizers(tmp_path: Path) -> None:
    for name in ("scrfd_500m_bnkps.onnx", "2d106det.onnx"):
        (tmp_path / name).symlink_to(photo_path(name))
    file = tmp_path / "mine.yaml"
    file.write_text(SHIPPED)
    called = ["add", str(tmp_path), "--config", str(file), "--json"]
    done = CliRunner().invoke(models_app, called)
    assert done.exit_code == 0, done.output
    [entry] = json.loads(done.stdout)
    assert entry["model"]["family"] == "scrfd"
    assert "2d106det.onnx: neither" in done.stderr
    assert list(graph_config(yaml.safe_load(file.read_text())).models) == ["scrfd_500m_bnkps"]


def test_a_classifier_is_added_by_what_is_told_of_it(tmp_path: Path) -> None:
    path = save_classifier(tmp_path / "mask.onnx", 96, np.zeros((3, 1)), [0])
    options = ["--label", "mask", "--scale", "1.5"]
    done = CliRunner().invoke(models_app, ["add", str(path), *options])
    assert (done.exit_code, "mask.onnx: a classifier of 96 x 96" in done.stderr) == (1, True)
    options += ["--normalisation", "(RGB - 0) / 255"]
    done = CliRunner().invoke(models_app, ["add", str(path), *options])
    assert done.exit_code == 0, done.output
    assert done.stderr == "mask: mask (sigmoid) classifier\n"
    [entry] = yaml.safe_load(done.stdout)["models"].values()
    assert (entry["kind"], entry["preprocessing"]["scale"]) == ("classifier", 255)
    wrong = ["add", str(path), "--normalisation", "(RGB - 1) / 2"]
    assert (
        "--normalisation: one of (RGB - 127.5) / 127.5"
        in CliRunner().invoke(models_app, wrong, env={"COLUMNS": "1000"}).output
    )
