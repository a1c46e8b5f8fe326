"""One small interface in front of every inference runtime.

A backend takes pixels, not tensors, so that each runtime normalises them where that is cheapest.
"""

from typing import Protocol

from configs.model import ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.models import Model
from deployments.runtime.exported import is_wanted, kept_file
from deployments.runtime.network import Network
from deployments.runtime.onnx_backend import backend_from_onnx
from deployments.runtime.records import require_recorded
from deployments.runtime.weights import CONFIGURATION, find_weights


class Backend(Protocol):
    @property
    def runtime(self) -> str: ...

    @property
    def device(self) -> str: ...

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        """uint8 [B,H,W,3] BGR -> the network's outputs, float32 [B,...], in the network's order.

        May be called from several threads at once. A runtime may need longer for the first call.
        """


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
            require_recorded(path, model=model)
    if model.is_onnx:
        return backend_from_onnx(
            weights.literal or weights.path,
            source=weights.source,
            model=model,
            config=config,
            network=network,
        )
    exported = kept_file(weights.path, model) if is_wanted(config) else None
    if exported and exported.is_file():
        return backend_from_onnx(
            exported, source=weights.source, model=model, config=config, network=network
        )
    # Imports PyTorch, which takes seconds and memory that ONNX files do without.
    from deployments.runtime.checkpoint_backend import backend_from_checkpoint

    return backend_from_checkpoint(
        weights.path, model=model, config=config, network=network, keep_as=exported
    )
