"""The export cache: a checkpoint is exported once, and the next load does not need PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.catalogue import CATALOGUE
from configs.environment import compiled_models_folder
from configs.recognizer import RecognizerConfig
from deployments.inference.export_cache import cache_path
from deployments.recognizer.iresnet import IResNet
from deployments.recognizer.recognizer import recognizer_from
from tests.support.parity import entries_for

MODEL = CATALOGUE["arcface-ir50"]
CHIPS = np.random.RandomState(0).randint(0, 256, (2, 112, 112, 3)).astype(np.uint8)
LOAD_AGAIN = """
import sys
import numpy as np
from configs.recognizer import RecognizerConfig
from deployments.recognizer.recognizer import recognizer_from
config = RecognizerConfig.model_validate_json(sys.argv[1])
chips = np.random.RandomState(0).randint(0, 256, (2, 112, 112, 3)).astype(np.uint8)
print(recognizer_from(config).embed(chips).vectors[:, :3].tolist())
print("torch" in sys.modules)
"""


@pytest.fixture
def config(tmp_path: Path) -> RecognizerConfig:
    module = IResNet()
    entries = entries_for(module)
    torch.save(entries, tmp_path / MODEL.weights_file)
    return RecognizerConfig(
        model=MODEL.id, weights=tmp_path, device="cpu", runtime="onnxruntime", precision="float32"
    )


def test_the_second_load_reads_the_file_and_imports_no_pytorch(config: RecognizerConfig) -> None:
    first = recognizer_from(config).embed(CHIPS).vectors
    assert config.weights is not None
    file = cache_path(config.weights / MODEL.weights_file, MODEL)
    assert file is not None
    assert file.parent == compiled_models_folder()
    assert file.stat().st_size > 100_000_000
    again = subprocess.run(
        [sys.executable, "-c", LOAD_AGAIN, config.model_dump_json()],
        capture_output=True,
        text=True,
        check=True,
    )
    vectors, has_torch = again.stdout.splitlines()
    np.testing.assert_allclose(json.loads(vectors), first[:, :3], atol=1e-6)
    assert has_torch == "False"


def test_an_export_is_stored_with_runtime_auto_too(
    config: RecognizerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(tmp_path / "kept"))
    anywhere = config.model_copy(update={"device": "auto", "runtime": "auto"})
    backend = recognizer_from(anywhere).backend
    files = list(compiled_models_folder().glob("*.onnx"))
    assert len(files) == (0 if backend.choice.runtime == "torch" else 1)


def test_another_checkpoint_or_configuration_is_another_file(tmp_path: Path) -> None:
    checkpoint = tmp_path / MODEL.weights_file
    files = []
    for content, configuration in ((b"a", None), (b"b", None), (b"b", "{}"), (b"b", '{"a": 1}')):
        checkpoint.write_bytes(content)
        if configuration:
            (tmp_path / "configuration.json").write_text(configuration)
        files.append(cache_path(checkpoint, MODEL))
    assert len(set(files)) == 4


def test_without_a_writable_folder_there_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a file"
    file.touch()
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(file / "below"))
    assert cache_path(file, MODEL) is None
