"""Recognizers published as ONNX files: names, batch sizes, and files that are refused."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from configs.model import Device, Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.recognizer import load_recognizer
from deployments.recognizer.recognizer import recognizer_from
from tests.support import parity
from tests.support.gpu import ONNX_RUNTIME_ON_GPU
from tests.support.small_recognizer import expected_vectors, save_onnx

RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def chips() -> ByteArray:
    return np.stack([parity.photo(112, 112, seed=seed) for seed in range(5)])


@pytest.mark.parametrize(
    ("runtime", "device"),
    [
        ("onnxruntime", "cpu"),
        ("openvino", "cpu"),
        pytest.param("onnxruntime", "cuda", marks=ONNX_RUNTIME_ON_GPU),
    ],
)
@pytest.mark.parametrize("model", ["frfm", "frir"])
def test_names_of_inputs_and_outputs_do_not_matter(
    model: str, runtime: Runtime, device: Device, chips: ByteArray, tmp_path: Path
) -> None:
    recognizer = recognizer_from(
        RecognizerConfig(model=model, weights=save_onnx(tmp_path), runtime=runtime, device=device)
    )
    assert recognizer.backend.choice.device == device
    embeddings = recognizer.embed(chips)
    np.testing.assert_allclose(embeddings.vectors, expected_vectors(chips), rtol=0, atol=1e-4)
    assert embeddings.uncertainty is None


def test_other_weights_of_a_model_give_another_version(chips: ByteArray, tmp_path: Path) -> None:
    versions = []
    for declared in ("N", 1):
        folder = save_onnx(tmp_path, gives=(declared, 512))
        digest = sha256((folder / "model.onnx").read_bytes()).hexdigest()
        found = load_recognizer("frir", weights=folder).embed(chips)
        assert found.version == f"frir@{digest[:12]}"
        versions.append(found.version)
    assert versions[0] != versions[1]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("takes", "gives", "rows"),
    [
        (4, 4, 4),
        (1, 1, 1),
        ("N", 1, -1),  # as published for frir: one row declared, though any number is taken
        ("N", "N", 1),  # any number declared, though one is taken
    ],
)
def test_files_of_every_batch_size_embed_any_number_of_chips(
    takes: int | str,
    gives: int | str,
    rows: int,
    runtime: Runtime,
    chips: ByteArray,
    tmp_path: Path,
) -> None:
    folder = save_onnx(tmp_path, takes=(takes, 3, 112, 112), gives=(gives, 512), rows=rows)
    recognizer = load_recognizer("frir", weights=folder, runtime=runtime)
    for count in (0, 1, 3, 4, 5):
        vectors = recognizer.embed(chips[:count]).vectors
        np.testing.assert_allclose(vectors, expected_vectors(chips[:count]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"takes": ("N", 3, 224, 224)},
            r"expected one float32 input \[\*, 3, 112, 112\], found data tensor\(float\)"
            r" \[N, 3, 224, 224\]",
        ),
        ({"takes": ("N", 112, 112, 3)}, r"expected one .* found data .* \[N, 112, 112, 3\]"),
        ({"inputs": ("data", "more")}, r"expected one .* found data .*, more "),
        (
            {"size": 256, "gives": ("N", 256)},
            r"expected a float32 output \[\*, 512\], found flat tensor\(float\) \[N, 48\],"
            r" fc1_683 tensor\(float\) \[N, 256\]",
        ),
        ({"rows": 3}, r"expected an output \(N, 512\): .*Reshape"),
    ],
)
def test_files_of_other_networks_are_refused_when_loaded(
    settings: dict[str, tuple[int | str, ...]], message: str, tmp_path: Path
) -> None:
    folder = save_onnx(tmp_path, **settings)
    with pytest.raises(InvalidWeights, match=rf"frfm: .*model\.onnx: {message}"):
        load_recognizer("frfm", weights=folder)


def test_a_file_that_is_no_onnx_is_refused_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InvalidWeights, match=r"frfm: .*model\.onnx: not a readable ONNX model"):
        load_recognizer("frfm", weights=tmp_path)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="needs an ONNX Runtime without CUDA",
)
def test_an_onnx_runtime_without_cuda_says_what_it_has() -> None:
    with pytest.raises(InvalidConfig, match=r"device: cuda needs .*onnxruntime-gpu.*CPUExecution"):
        recognizer_from(RecognizerConfig(device="cuda"))
