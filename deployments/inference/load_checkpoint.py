"""A PyTorch checkpoint in the runtime that suits it."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.inference.backend import Network, SplitBackend
from deployments.inference.choice import runs_in_torch
from deployments.inference.export_cache import keep
from deployments.inference.load_onnx import backend_from_onnx
from deployments.inference.onnx_export import export_onnx
from deployments.inference.onnx_runtime import OnnxRuntimeBackend
from deployments.inference.torch_runtime import TorchBackend
from deployments.weights.checkpoints import load_checkpoint, load_strictly

if TYPE_CHECKING:  # may be missing
    from deployments.inference.openvino_runtime import OpenVinoBackend

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
    in_torch = runs_in_torch(config)
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


def _exported(module: nn.Module, network: Network) -> bytes:
    free_axes = {0: "batch"}
    if network.input_size is None:
        free_axes |= {2: "height", 3: "width"}
    example = torch.zeros(1, 3, *(network.input_size or _EXAMPLE_SIZE))
    return export_onnx(module, example=example, free_axes=free_axes)
