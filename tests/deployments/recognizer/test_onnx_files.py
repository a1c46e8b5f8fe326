"""Recognizers published as ONNX files: names, batch sizes, and files that are refused."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from configs.model import Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.recognizer import load_recognizer
from deployments.recognizer.recognizer import l2_normalise, recognizer_from
from tests.support import parity

RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
CELLS = 4  # of 28 pixels, along each side of a chip
WEIGHT = np.random.RandomState(0).standard_normal((3 * CELLS**2, 512)).astype(np.float32)


@pytest.fixture(scope="module")
def chips() -> ByteArray:
    return np.stack([parity.photo(112, 112, seed=seed) for seed in range(5)])


def save_onnx(
    folder: Path,
    *,
    takes: tuple[int | str, ...] = ("N", 3, 112, 112),
    gives: tuple[int | str, ...] = ("N", 512),
    size: int = 512,
    rows: int = -1,
    inputs: tuple[str, ...] = ("data",),
) -> Path:
    """Save a small network with unusual names: the cells' mean colours, times `WEIGHT`.

    takes, gives: the shapes that the file declares. It really gives `size` numbers a chip, and only
    runs on `rows` chips unless that is -1.
    """
    cell = [112 // CELLS] * 2
    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=cell, strides=cell),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["fc1_683"]),
    ]
    constants = {"shape": np.asarray([rows, len(WEIGHT)]), "weight": WEIGHT[:, :size]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, takes) for name in inputs],
        [
            helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", len(WEIGHT)]),
            helper.make_tensor_value_info("fc1_683", TensorProto.FLOAT, gives),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 11)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=6).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    return folder


def expected_vectors(chips: ByteArray) -> FloatArray:
    cells = chips.reshape(len(chips), CELLS, 28, CELLS, 28, 3).mean(axis=(2, 4))
    rgb = cells[..., ::-1].transpose(0, 3, 1, 2).reshape(len(chips), len(WEIGHT))
    return l2_normalise(((rgb / 255 - 0.5) / 0.5).astype(np.float32) @ WEIGHT)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", ["frfm", "frir"])
def test_names_of_inputs_and_outputs_do_not_matter(
    model: str, runtime: Runtime, chips: ByteArray, tmp_path: Path
) -> None:
    recognizer = load_recognizer(model, weights=save_onnx(tmp_path), runtime=runtime)
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
    folder = save_onnx(tmp_path, **settings)  # type: ignore[arg-type]
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
