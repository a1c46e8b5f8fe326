"""A PyTorch checkpoint in the runtime that suits it."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from configs.model import ModelConfig
from deployments.models import Model
from deployments.runtime.checkpoints import load_checkpoint, load_strictly
from deployments.runtime.exported import keep
from deployments.runtime.network import Network
from deployments.runtime.onnx_backend import backend_from_onnx, openvino_computes_bfloat16
from deployments.runtime.onnx_export import export_onnx
from deployments.runtime.onnx_runtime import OnnxRuntimeBackend
from deployments.runtime.split import SplitBackend
from deployments.runtime.torch_runtime import TorchBackend, torch_device

if TYPE_CHECKING:  # may be missing
    from deployments.runtime.openvino_runtime import OpenVinoBackend

# Of the example that the exporter traces, where the network takes any size.
_EXAMPLE_SIZE = (64, 96)


def backend_from_checkpoint(
    path: Path,
    *,
    model: Model,
    config: ModelConfig,
    network: Network,
    keep_as: Path | None = None,
) -> "TorchBackend | OnnxRuntimeBackend | OpenVinoBackend | SplitBackend":
    """Raises as `load_backend` does. `keep_as`: where its ONNX file is kept, if one is made."""
    in_torch = _runs_in_torch(config)
    module = _loaded(path, network)
    if in_torch:
        return TorchBackend(module, model=model, config=config, network=network)
    content = _exported(module, network)
    if keep_as:
        keep(content, keep_as)
    del module  # as large as `content`, which the runtime is about to copy
    return backend_from_onnx(content, source=str(path), model=model, config=config, network=network)


def _loaded(path: Path, network: Network) -> nn.Module:
    checkpoint = load_checkpoint(path)
    module = network.build(checkpoint)
    load_strictly(module, entries=checkpoint.entries, source=checkpoint.source)
    return module.eval()


def _runs_in_torch(config: ModelConfig) -> bool:
    """What `auto` means: PyTorch is the slowest on the CPU, see benchmarks/runtimes.py. In float32
    the answers of all runtimes differ by less than 2e-4."""
    if config.runtime in ("onnxruntime", "openvino"):
        return False
    device = torch_device(config.device)  # says that a GPU is missing before a large file is read
    asked = config.runtime == "torch" or config.torch_mode != "eager"
    if asked or device.type == "cuda" or config.precision == "float16":
        return True
    return config.precision == "bfloat16" and not openvino_computes_bfloat16()


def _exported(module: nn.Module, network: Network) -> bytes:
    free_axes = {0: "batch"}
    if network.input_size is None:
        free_axes |= {2: "height", 3: "width"}
    example = torch.zeros(1, 3, *(network.input_size or _EXAMPLE_SIZE))
    return export_onnx(module, example=example, free_axes=free_axes)
