"""Models in float16: ONNX files are converted, and checked against float32.

ONNX Runtime and PyTorch compute float16 on the CPU too, slowly, so that no GPU is needed here.
"""

import re
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from pydantic import ValidationError
from torch import nn

from configs.catalogue import CATALOGUE, find_model
from configs.detector import DetectorConfig
from configs.recognizer import RecognizerConfig
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import Backend, Choice, ChosenDevice, ModelSpec, Network
from deployments.inference.choice import choose
from deployments.inference.half_precision import LOWEST_COSINE, canaries, half_if_near
from deployments.inference.load_onnx import backend_from_onnx
from deployments.inference.onnx_runtime import OnnxRuntimeBackend
from deployments.inference.torch_runtime import TorchBackend, TorchCanvasBackend
from deployments.recognizer.recognizer import l2_normalise
from deployments.weights.checkpoints import Checkpoint
from deployments.weights.find import find_weights
from tests.support.gpu import DEVICES, ONNX_RUNTIME_DEVICES
from tests.support.small_recognizer import (
    OUTPUT,
    WEIGHT,
    expected_vectors,
    save_onnx,
    small_recognizer,
)

NETWORK = Network(
    lambda _: pytest.fail("an ONNX file holds its network"), input_size=(112, 112), output_size=512
)
HALF = Choice("onnxruntime", "cpu", "float16", "a test")
SPEC = ModelSpec(CATALOGUE["arcface-mbf"], RecognizerConfig(), NETWORK, HALF, "the file")

# Of some weights, and the precision in which the network then runs: with the second it overflows.
FACTORS = [(1.0, "float16"), (1e7, "float32")]


@pytest.fixture(scope="module")
def file() -> bytes:
    content = find_weights(find_model("arcface-mbf", "recognizer"), None).content
    assert content
    return content


def test_a_recognizer_near_float32_runs_in_float16(file: bytes) -> None:
    half = half_if_near(partial(OnnxRuntimeBackend, file), SPEC)
    assert half.choice == HALF
    exact = OnnxRuntimeBackend(file, replace(SPEC, choice=replace(HALF, precision="float32")))
    found, expected = (one.run(canaries(SPEC))[0] for one in (half, exact))
    assert found.dtype == np.float32
    moved = np.abs(found - expected).max()
    assert 0 < moved < 0.01 * np.abs(expected).max()  # rounded, so it was converted


def test_a_recognizer_that_overflows_in_float16_runs_in_float32_and_says_so(file: bytes) -> None:
    loaded: list[str] = []

    def load(spec: ModelSpec) -> Backend:
        loaded.append(spec.choice.precision)
        return OnnxRuntimeBackend(with_large_activations(file), spec)

    found = half_if_near(load, SPEC)
    assert found.choice.precision == "float32"
    assert "a test; float16 gives a cosine of 0." in found.choice.reason
    assert loaded == ["float16", "float32", "float32"]


def with_large_activations(file: bytes, factor: float = 1e7) -> bytes:
    """The file with the weights of its first convolution times the factor."""
    model = onnx.load_from_string(file)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    [weights] = [one for one in model.graph.initializer if one.name == first.input[1]]
    enlarged = numpy_helper.to_array(weights) * np.float32(factor)
    weights.CopyFrom(numpy_helper.from_array(enlarged, weights.name))
    changed: bytes = model.SerializeToString()
    return changed


@pytest.mark.parametrize("device", ONNX_RUNTIME_DEVICES)
@pytest.mark.parametrize(("factor", "precision"), FACTORS)
@pytest.mark.parametrize("model", ["frfm", "frir"])
def test_a_file_of_frfms_and_frirs_shape_runs_in_float16_if_near_float32(
    model: str, factor: float, precision: str, device: ChosenDevice, tmp_path: Path
) -> None:
    path = save_onnx(tmp_path, constants={"weight": WEIGHT * np.float32(factor)}) / "model.onnx"
    choice = replace(HALF, device=device)
    spec = replace(SPEC, model=CATALOGUE[model], choice=choice)
    found = half_if_near(partial(backend_from_onnx, path), spec)
    assert (found.choice.device, found.choice.precision) == (device, precision)
    cosines = l2_normalise(found.run(canaries(spec))[0]) * expected_vectors(canaries(spec))
    assert cosines.sum(axis=1).min() > LOWEST_COSINE


def test_weights_in_files_beside_an_onnx_file_are_halved_too(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small_recognizer(), path, save_as_external_data=True, location="weights")
    assert WEIGHT.tobytes() in (tmp_path / "weights").read_bytes()
    found = half_if_near(partial(OnnxRuntimeBackend, path), SPEC)
    assert found.choice == HALF
    cosines = l2_normalise(found.run(canaries(SPEC))[0]) * expected_vectors(canaries(SPEC))
    assert cosines.sum(axis=1).min() > LOWEST_COSINE


def quantised() -> ModelProto:
    """Quantises its colours, which ONNX defines for float32 alone."""
    head = [
        helper.make_node("QuantizeLinear", ["flat", "scale", "zero"], ["quantised"]),
        helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["near"]),
        helper.make_node("MatMul", ["near", "weight"], [OUTPUT]),
    ]
    return small_recognizer(head=head, constants={"scale": np.float32(0.01), "zero": np.int8(0)})


def with_branches() -> ModelProto:
    """Has two branches with weights of one name, which the converter does not expect."""
    branches = {}
    for name, factor in (("then_branch", 1), ("else_branch", 2)):
        product = helper.make_node("MatMul", ["flat", "own"], ["product"])
        output = helper.make_tensor_value_info("product", TensorProto.FLOAT, ["N", 512])
        weight = numpy_helper.from_array(WEIGHT * np.float32(factor), "own")
        branches[name] = helper.make_graph([product], name, [], [output], [weight])
    head = [helper.make_node("If", ["condition"], [OUTPUT], **branches)]
    return small_recognizer(head=head, constants={"condition": np.array([True])})


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (with_branches(), "AssertionError"),
        (quantised(), r".*Type 'tensor\(float16\)' of input parameter .*"),
    ],
)
def test_a_file_that_cannot_be_converted_or_run_in_float16_runs_in_float32_and_says_so(
    model: ModelProto, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = half_if_near(partial(OnnxRuntimeBackend, model.SerializeToString()), SPEC)
    assert found.choice.precision == "float32"
    assert re.fullmatch(f"a test; float16 fails: {why}", found.choice.reason)
    assert "the file: runs in float32: float16 fails: " in caplog.text
    assert found.run(canaries(SPEC))[0].shape == (8, 512)


def test_a_file_that_cannot_be_read_in_float32_either_is_refused() -> None:
    with pytest.raises(InvalidWeights, match="the file: not a readable ONNX model"):
        half_if_near(partial(OnnxRuntimeBackend, b"no model"), SPEC)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("factor", "precision"), FACTORS)
def test_a_checkpoint_runs_in_float16_if_near_float32(
    factor: float, precision: str, device: ChosenDevice
) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 7, stride=7)
    module = nn.Sequential(first, nn.PReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 512)).eval()
    with torch.no_grad():
        first.weight *= factor
    eager = Choice("torch", device, "float16", "a test", torch_mode="eager")
    choice = replace(eager, torch_mode="cuda_graphs") if device == "cuda" else eager
    network = replace(NETWORK, max_batch=lambda device: 8)
    spec = replace(SPEC, model=CATALOGUE["arcface-ir50"], choice=choice, network=network)
    found = half_if_near(lambda spec: TorchBackend(deepcopy(module), spec), spec)
    assert (found.choice.precision, found.choice.torch_mode) == (precision, choice.torch_mode)
    assert np.isfinite(found.run(canaries(spec))[0]).all()


@pytest.mark.parametrize(("factor", "precision"), FACTORS)
def test_a_detector_runs_in_float16_if_its_outputs_are_near_float32(
    factor: float, precision: str
) -> None:
    model = find_model("retinaface-mnet025", "detector")
    content = find_weights(model, None).content
    assert content
    network = Network(NETWORK.build, in_levels=True)
    spec = ModelSpec(model, DetectorConfig(), network, HALF, "the file")
    file = with_large_activations(content, factor)
    assert half_if_near(partial(backend_from_onnx, file), spec).choice.precision == precision


def test_the_module_on_canvases_is_loaded_once_the_plain_one_is_near_float32() -> None:
    loaded: list[tuple[str, bool]] = []

    def load(spec: ModelSpec) -> Backend:
        on_canvases = bool(spec.network.canvases("cpu") and spec.network.on_canvases)
        loaded.append((spec.choice.precision, on_canvases))
        module = spec.network.build(Checkpoint({}, {}, "a test"))
        kind = TorchCanvasBackend if on_canvases else TorchBackend
        return kind(module, spec)

    def build(_: Checkpoint) -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3)

    network = Network(build, canvases=lambda _: [(32, 32)], on_canvases=lambda module: module)
    choice = Choice("torch", "cpu", "float16", "a test", torch_mode="eager")
    spec = ModelSpec(CATALOGUE["retinaface-r50"], DetectorConfig(), network, choice, "the file")
    found = half_if_near(load, spec)
    assert isinstance(found, TorchCanvasBackend)
    assert loaded == [("float16", False), ("float32", False), ("float16", True)]


class NoGpu:
    torch_gpu = openvino = native_bfloat16 = False
    onnxruntime_providers: tuple[str, ...] = ("CPUExecutionProvider",)


class OnnxGpu(NoGpu):
    onnxruntime_providers = ("CUDAExecutionProvider", "CPUExecutionProvider")


def test_an_onnx_file_on_cuda_may_be_in_float16_and_nowhere_else() -> None:
    model = CATALOGUE["frfm"]
    config = RecognizerConfig(model="frfm", device="cuda", precision="float16")
    chosen = choose(model, config, NETWORK, OnnxGpu())  # type: ignore[arg-type]
    assert (chosen.runtime, chosen.device, chosen.precision) == ("onnxruntime", "cuda", "float16")
    with pytest.raises(InvalidConfig, match="CUDAExecutionProvider"):
        choose(model, config, NETWORK, NoGpu())  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="float16 needs a checkpoint in runtime torch"):
        RecognizerConfig(model="frfm", precision="float16")
