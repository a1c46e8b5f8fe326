"""A PyTorch checkpoint in the runtime that suits it."""

from pathlib import Path

import torch
from torch import nn

from configs.model import ModelConfig
from deployments.models import Model
from deployments.runtime.checkpoints import load_checkpoint, load_strictly
from deployments.runtime.network import Network
from deployments.runtime.onnx_export import export_onnx
from deployments.runtime.onnx_runtime import OnnxRuntimeBackend
from deployments.runtime.torch_runtime import TorchBackend, torch_device

# Of the example that the exporter traces, where the network takes any size.
_EXAMPLE_SIZE = (64, 96)


def backend_from_checkpoint(
    path: Path, *, model: Model, config: ModelConfig, network: Network
) -> TorchBackend | OnnxRuntimeBackend:
    """Raises as `load_backend` does."""
    in_torch = _runs_in_torch(config)
    module = _loaded(path, network)
    if in_torch:
        return TorchBackend(module, model=model, config=config)
    content = _exported(module, network)
    del module  # as large as `content`, which ONNX Runtime is about to copy
    return OnnxRuntimeBackend(
        content, source=str(path), model=model, config=config, network=network
    )


def _loaded(path: Path, network: Network) -> nn.Module:
    checkpoint = load_checkpoint(path)
    module = network.build(checkpoint)
    load_strictly(module, entries=checkpoint.entries, source=checkpoint.source)
    return module.eval()


def _runs_in_torch(config: ModelConfig) -> bool:
    """What `auto` means: on the CPU, with one thread, ONNX Runtime took 0.64 s for RetinaFace's
    ResNet-50 at 640 x 480 where PyTorch took 0.78 s, and for a chip and IResNet-50 0.12 s where
    PyTorch took 0.15 s. Their answers differ by less than 1e-5."""
    if config.runtime == "onnxruntime":
        return False
    device = torch_device(config.device)  # says that a GPU is missing before a large file is read
    return config.runtime == "torch" or config.precision != "float32" or device.type == "cuda"


def _exported(module: nn.Module, network: Network) -> bytes:
    free_axes = {0: "batch"}
    if network.input_size is None:
        free_axes |= {2: "height", 3: "width"}
    example = torch.zeros(1, 3, *(network.input_size or _EXAMPLE_SIZE))
    return export_onnx(module, example=example, free_axes=free_axes)
