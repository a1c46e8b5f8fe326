"""Loads a PyTorch checkpoint into PyTorch, or exports it as an ONNX file."""

from pathlib import Path

import torch
from torch import nn

from deployments.inference.backend import ModelSpec, Network
from deployments.inference.onnx_export import export_onnx
from deployments.inference.torch_runtime import TorchBackend, TorchCanvasBackend
from deployments.weights.checkpoints import load_checkpoint, load_strictly

# Height and width of the example input for the ONNX export of networks without a fixed size.
_EXAMPLE_SIZE = (64, 96)


def torch_backend(path: Path, spec: ModelSpec) -> TorchBackend:
    """The checkpoint in PyTorch. Raises InvalidWeights if it does not fit the network."""
    module = _loaded(path, spec.network)
    if spec.network.on_canvases and spec.network.canvases(spec.choice.device):
        return TorchCanvasBackend(spec.network.on_canvases(module), spec)
    return TorchBackend(module, spec)


def export_checkpoint(path: Path, network: Network) -> bytes:
    """The checkpoint as an ONNX file. Raises InvalidWeights if it does not fit the network."""
    free_axes = {0: "batch"}
    if network.input_size is None:
        free_axes |= {2: "height", 3: "width"}
    example = torch.zeros(1, 3, *(network.input_size or _EXAMPLE_SIZE))
    return export_onnx(_loaded(path, network), example=example, free_axes=free_axes)


def _loaded(path: Path, network: Network) -> nn.Module:
    checkpoint = load_checkpoint(path)
    module = network.build(checkpoint)
    load_strictly(module, entries=checkpoint.entries, source=checkpoint.source)
    return module.eval()
