"""Loads a model into the runtime that `choice` names: the only module that knows every runtime."""

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.inference.backend import Backend, Network
from deployments.inference.choice import uses_onnx
from deployments.inference.export_cache import cache_path
from deployments.inference.load_onnx import backend_from_onnx
from deployments.weights.checksums import verify_checksum
from deployments.weights.find import CONFIGURATION, find_weights


def load_backend(model: Model, config: ModelConfig, *, network: Network) -> Backend:
    """The model's weights in the runtime that the configuration asks for.

    ONNX files run in ONNX Runtime or OpenVINO; checkpoints in PyTorch or, exported in memory, as
    ONNX files do.
    Raises ModelUnavailable without weights, InvalidWeights where they are no such network or not
    what was recorded when they were pulled,
    InvalidConfig where this machine lacks what the configuration asks for.
    """
    weights = find_weights(model, config.weights)
    for path in (weights.path, weights.path.with_name(CONFIGURATION)):
        if path.is_file():
            verify_checksum(path, model=model)
    if model.is_onnx:
        return backend_from_onnx(
            weights.literal or weights.path,
            source=weights.source,
            model=model,
            config=config,
            network=network,
        )
    exported = cache_path(weights.path, model) if uses_onnx(config) else None
    if exported and exported.is_file():
        return backend_from_onnx(
            exported, source=weights.source, model=model, config=config, network=network
        )
    # Imports PyTorch, which takes seconds and memory that ONNX files do without.
    from deployments.inference.load_checkpoint import backend_from_checkpoint

    return backend_from_checkpoint(
        weights.path, model=model, config=config, network=network, keep_as=exported
    )
