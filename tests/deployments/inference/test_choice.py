"""The choice of runtime, device and precision, as a table, and the backends that obey it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from configs.catalogue import CATALOGUE
from configs.model import ModelConfig
from deployments.errors import InvalidConfig
from deployments.inference.backend import Choice, Network
from deployments.inference.choice import choose
from deployments.inference.load import load_backend
from deployments.inference.machine import Machine
from deployments.inference.onnx_runtime import OnnxRuntimeBackend
from deployments.inference.openvino_runtime import OpenVinoBackend
from deployments.inference.torch_runtime import TorchBackend
from deployments.recognizer.iresnet import IResNet
from tests.support import parity

# Networks of a recognizer and of a detector; the choice depends on the input size alone.
CHIPS = Network(lambda _: IResNet((1, 1, 1, 1)), input_size=(112, 112), output_size=512)
PHOTOS = Network(lambda _: IResNet())
NETWORKS = {
    "arcface-mbf": CHIPS,
    "arcface-ir50": CHIPS,
    "retinaface-mnet025": PHOTOS,
    "retinaface-r50": PHOTOS,
}

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass
class Computer(Machine):
    torch_gpu: bool = False
    onnxruntime_providers: tuple[str, ...] = (CPU,)
    openvino: bool = True
    native_bfloat16: bool = True


class WithoutTorch(Machine):
    """A CPU without GPU providers, whose PyTorch must not be asked."""

    onnxruntime_providers = (CPU,)
    openvino = native_bfloat16 = True

    @cached_property
    def torch_gpu(self) -> NoReturn:
        raise AssertionError("importing PyTorch was not needed")


LAPTOP = Computer()
OLD_CPU = Computer(native_bfloat16=False)
BARE = Computer(openvino=False, native_bfloat16=False)
GPU = Computer(torch_gpu=True, onnxruntime_providers=(CUDA, CPU))
TORCH_GPU = Computer(torch_gpu=True)
ONNX_GPU = Computer(onnxruntime_providers=(CUDA, CPU))


def chosen(model: str, settings: dict[str, Any], machine: Machine) -> Choice:
    config = ModelConfig.model_validate({"model": model, **settings})
    return choose(CATALOGUE[model], config, NETWORKS[model], machine)


MBF, IR50, MNET, R50 = NETWORKS
AUTO = {"precision": "auto"}
ON_CPU = {"device": "cpu"}
HALF = {"precision": "float16"}
BF16 = {"precision": "bfloat16"}


@pytest.mark.parametrize(
    ("model", "settings", "machine", "found"),
    [
        # Recognizers on a CPU.
        (MBF, {}, LAPTOP, "openvino cpu float32"),
        (MBF, AUTO, LAPTOP, "openvino cpu bfloat16"),
        (MBF, AUTO, OLD_CPU, "openvino cpu float32"),
        (MBF, AUTO, BARE, "onnxruntime cpu float32"),
        (MBF, {}, BARE, "onnxruntime cpu float32"),
        (MBF, {"runtime": "onnxruntime", **AUTO}, LAPTOP, "onnxruntime cpu float32"),
        (MBF, {"runtime": "openvino", **AUTO}, LAPTOP, "openvino cpu bfloat16"),
        (MBF, BF16, LAPTOP, "openvino cpu bfloat16"),
        (IR50, {}, LAPTOP, "openvino cpu float32"),
        (IR50, AUTO, LAPTOP, "openvino cpu bfloat16"),
        (IR50, {}, BARE, "onnxruntime cpu float32"),
        (IR50, BF16, LAPTOP, "openvino cpu bfloat16"),
        (IR50, BF16, OLD_CPU, "torch cpu bfloat16 eager"),
        (IR50, BF16, BARE, "torch cpu bfloat16 eager"),
        (IR50, {"runtime": "torch", **AUTO}, LAPTOP, "torch cpu float32 eager"),
        (IR50, {"runtime": "torch", **BF16}, LAPTOP, "torch cpu bfloat16 eager"),
        (IR50, {"torch_mode": "eager"}, LAPTOP, "openvino cpu float32"),
        # Detectors on a CPU.
        (MNET, {}, LAPTOP, "onnxruntime cpu float32"),
        (MNET, AUTO, LAPTOP, "onnxruntime cpu float32"),
        (MNET, BF16, LAPTOP, "openvino cpu bfloat16"),
        (MNET, {"runtime": "openvino", **AUTO}, LAPTOP, "openvino cpu float32"),
        (R50, {}, LAPTOP, "onnxruntime cpu float32"),
        (R50, BF16, LAPTOP, "openvino cpu bfloat16"),
        (R50, BF16, OLD_CPU, "torch cpu bfloat16 eager"),
        # ONNX files on a GPU.
        (MBF, {}, GPU, "onnxruntime cuda float32"),
        (MBF, AUTO, GPU, "onnxruntime cuda float32"),
        (MBF, {"runtime": "openvino"}, GPU, "openvino cpu float32"),
        (MBF, BF16, GPU, "openvino cpu bfloat16"),
        (MBF, ON_CPU, GPU, "openvino cpu float32"),
        (MBF, {"runtime": "onnxruntime", **ON_CPU}, GPU, "onnxruntime cpu float32"),
        (MBF, {}, TORCH_GPU, "openvino cpu float32"),
        (MNET, {"device": "cuda"}, ONNX_GPU, "onnxruntime cuda float32"),
        # Checkpoints on a GPU.
        (IR50, {}, GPU, "torch cuda float32 cuda_graphs"),
        (IR50, AUTO, GPU, "torch cuda float32 cuda_graphs"),
        (IR50, HALF, TORCH_GPU, "torch cuda float16 cuda_graphs"),
        (IR50, {**HALF, "device": "cuda"}, GPU, "torch cuda float16 cuda_graphs"),
        (IR50, {**HALF, "torch_mode": "eager"}, GPU, "torch cuda float16 eager"),
        (IR50, {"torch_mode": "cuda_graphs"}, GPU, "torch cuda float32 cuda_graphs"),
        (IR50, BF16, GPU, "torch cuda bfloat16 cuda_graphs"),
        (IR50, ON_CPU, GPU, "openvino cpu float32"),
        (IR50, {"runtime": "torch", **ON_CPU}, GPU, "torch cpu float32 eager"),
        (IR50, {"runtime": "onnxruntime"}, GPU, "onnxruntime cuda float32"),
        (IR50, {"runtime": "openvino"}, GPU, "openvino cpu float32"),
        (IR50, {}, ONNX_GPU, "onnxruntime cuda float32"),
        (R50, {}, GPU, "torch cuda float32 cuda_graphs"),
    ],
)
def test_each_configuration_runs_where_the_machine_runs_it_best(
    model: str, settings: dict[str, Any], machine: Computer, found: str
) -> None:
    choice = chosen(model, settings, machine)
    parts = (choice.runtime, choice.device, choice.precision, choice.torch_mode)
    assert " ".join(filter(None, parts)) == found
    assert choice.reason


@pytest.mark.parametrize(
    ("model", "settings", "machine", "reason"),
    [
        (MBF, {}, LAPTOP, "auto: the quickest for recognizers on a CPU"),
        (MNET, {}, LAPTOP, "auto: photos of many sizes, for which openvino gains nothing on a CPU"),
        (MBF, {}, BARE, "auto: openvino is not installed"),
        (MBF, {}, GPU, "auto: an ONNX file on a GPU"),
        (MBF, {"runtime": "onnxruntime"}, LAPTOP, "runtime: onnxruntime is configured"),
        (MBF, BF16, LAPTOP, "auto: onnxruntime does not compute bfloat16"),
        (
            MBF,
            {"runtime": "openvino", **AUTO},
            LAPTOP,
            "runtime: openvino is configured; precision auto: this CPU computes bfloat16 natively",
        ),
        (
            IR50,
            BF16,
            OLD_CPU,
            "auto: for bfloat16, which openvino does not compute natively here;"
            " torch_mode auto: eager on cpu",
        ),
        (
            IR50,
            AUTO,
            GPU,
            "auto: a checkpoint on a GPU; precision auto: float32 in torch;"
            " torch_mode auto: cuda_graphs on cuda",
        ),
        (
            IR50,
            {"runtime": "torch", "torch_mode": "eager"},
            LAPTOP,
            "runtime: torch is configured",
        ),
    ],
)
def test_the_reason_names_what_was_configured_and_what_auto_means(
    model: str, settings: dict[str, Any], machine: Computer, reason: str
) -> None:
    assert chosen(model, settings, machine).reason == reason


@pytest.mark.parametrize(
    ("model", "settings", "machine", "message"),
    [
        (IR50, {"device": "cuda"}, LAPTOP, "device: cuda, but PyTorch sees no GPU"),
        (IR50, HALF, LAPTOP, "precision: float16 needs a GPU, .* none for arcface-ir50"),
        (IR50, {"torch_mode": "cuda_graphs"}, LAPTOP, "torch_mode: cuda_graphs needs a GPU"),
        (MBF, {"device": "cuda"}, LAPTOP, "device: cuda needs ONNX Runtime's CUDA.* has CPU"),
        (MBF, {"runtime": "openvino"}, BARE, "runtime: openvino needs the package openvino"),
        (MBF, BF16, BARE, "precision: bfloat16 needs the package openvino for arcface-mbf"),
        (MBF, BF16, OLD_CPU, "precision: bfloat16 in openvino needs a CPU"),
        (IR50, {"runtime": "openvino", **BF16}, OLD_CPU, "bfloat16 in openvino needs a CPU"),
    ],
)
def test_a_configuration_that_the_machine_cannot_run_is_refused_by_name(
    model: str, settings: dict[str, Any], machine: Computer, message: str
) -> None:
    with pytest.raises(InvalidConfig, match=message):
        chosen(model, settings, machine)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (MBF, {}),
        (MBF, AUTO),
        (IR50, ON_CPU),
        (IR50, {**ON_CPU, **BF16}),
        (IR50, {**ON_CPU, "runtime": "torch"}),
        (IR50, {"runtime": "openvino"}),
        (IR50, {"runtime": "onnxruntime"}),
    ],
)
def test_pytorch_is_not_asked_for_a_gpu_without_need(model: str, settings: dict[str, Any]) -> None:
    assert chosen(model, settings, WithoutTorch()).device == "cpu"


@pytest.mark.parametrize(
    ("model", "settings", "machine", "fallback"),
    [
        (MBF, {}, LAPTOP, "auto: openvino cannot run this file"),
        (MBF, AUTO, OLD_CPU, "auto: openvino cannot run this file"),
        (MBF, AUTO, LAPTOP, "auto: openvino cannot run this file"),
        (MBF, {}, GPU, "auto: ONNX Runtime cannot start CUDA here"),
        (MBF, {"runtime": "onnxruntime"}, GPU, "auto: ONNX Runtime cannot start CUDA here"),
    ],
)
def test_auto_falls_back_to_onnx_runtime_on_the_cpu(
    model: str, settings: dict[str, Any], machine: Computer, fallback: str
) -> None:
    other = chosen(model, settings, machine).fallback
    assert other is not None
    assert (other.runtime, other.device, other.precision) == ("onnxruntime", "cpu", "float32")
    assert other.reason.startswith(fallback)


@pytest.mark.parametrize(
    ("model", "settings", "machine"),
    [
        (MBF, {"runtime": "openvino"}, LAPTOP),
        (MBF, BF16, LAPTOP),
        (MBF, {"device": "cuda"}, GPU),
        (MNET, {}, LAPTOP),
        (IR50, {}, GPU),
    ],
)
def test_a_configured_runtime_device_or_bfloat16_has_no_fallback(
    model: str, settings: dict[str, Any], machine: Computer
) -> None:
    assert chosen(model, settings, machine).fallback is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(parity.entries_for(IResNet((1, 1, 1, 1))), folder / "pytorch_model.pt")
    return folder


@pytest.mark.parametrize(
    "settings", [{}, AUTO, BF16, *({"runtime": name} for name in ("torch", "onnxruntime"))], ids=str
)
def test_a_backend_runs_in_the_chosen_runtime_and_carries_the_choice(
    folder: Path, settings: dict[str, Any]
) -> None:
    config = ModelConfig.model_validate({"model": IR50, "weights": folder, **settings})
    wanted = choose(CATALOGUE[IR50], config, CHIPS, Machine())
    backend = load_backend(CATALOGUE[IR50], config, network=CHIPS)
    assert backend.choice == wanted
    classes = {
        "torch": TorchBackend,
        "onnxruntime": OnnxRuntimeBackend,
        "openvino": OpenVinoBackend,
    }
    assert type(backend) is classes[wanted.runtime]
    assert backend.run(np.zeros((2, 112, 112, 3), np.uint8))[0].shape == (2, 512)
