"""Loads a model into the runtime that `choice.choose` names. Stages call `load_backend`."""

from functools import partial
from pathlib import Path

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.inference.backend import Backend, ModelSpec, Network
from deployments.inference.choice import choose
from deployments.inference.export_cache import cache_path, store
from deployments.inference.half_precision import half_if_near
from deployments.inference.load_onnx import backend_from_onnx
from deployments.inference.machine import Machine
from deployments.weights.checksums import verify_checksum
from deployments.weights.find import CONFIGURATION, Weights, find_weights

# `load_checkpoint` is imported inside functions: it imports PyTorch, which takes seconds and
# memory that ONNX files do without.


def load_backend(model: Model, config: ModelConfig, *, network: Network) -> Backend:
    """Find the model's weights, verify their checksum, and load them.

    ONNX files run in ONNX Runtime or OpenVINO. Checkpoints run in PyTorch or, exported as ONNX
    files, like those. A network in float16 that is not near float32 runs in float32.
    Raises ModelUnavailable without weights; InvalidWeights if they do not fit the network or differ
    from their listed checksum; InvalidConfig if this machine lacks what the configuration asks
    for.
    """
    weights = find_weights(model, config.weights)
    choice = choose(model, config, network, Machine())
    spec = ModelSpec(model, config, network, choice, f"{model.id}: {weights.path}")
    for path in (weights.path, weights.path.with_name(CONFIGURATION)):
        if path.is_file():
            verify_checksum(path, model=model)
    load = partial(_loaded, weights)
    if choice.precision == "float16":
        return half_if_near(load, spec)
    return load(spec)


def _loaded(weights: Weights, spec: ModelSpec) -> Backend:
    if spec.choice.runtime == "torch":
        from deployments.inference.load_checkpoint import torch_backend

        return torch_backend(weights.path, spec)
    return backend_from_onnx(_onnx_file(weights, spec), spec)


def _onnx_file(weights: Weights, spec: ModelSpec) -> Path | bytes:
    """The model's ONNX file; for a checkpoint the one in the export cache, or a new export."""
    if spec.model.is_onnx:
        return weights.literal or weights.path
    cached = cache_path(weights.path, spec.model)
    if cached and cached.is_file():
        return cached
    from deployments.inference.load_checkpoint import export_checkpoint

    content = export_checkpoint(weights.path, spec.network)
    if cached:
        store(content, cached)
    return content
