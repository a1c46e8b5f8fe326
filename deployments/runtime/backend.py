"""One small interface in front of every inference runtime.

A backend takes pixels, not tensors, so that each runtime normalises them where that is cheapest.
"""

from typing import Protocol

from configs.model import ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.models import Model
from deployments.runtime.onnx import OnnxRuntimeBackend
from deployments.runtime.weights import find_weights


class Backend(Protocol):
    @property
    def runtime(self) -> str: ...

    @property
    def device(self) -> str: ...

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        """uint8 [B,H,W,3] BGR -> the network's outputs, float32 [B,...], in the network's order.

        May be called from several threads at once.
        """


def load_backend(model: Model, config: ModelConfig) -> Backend:
    """The model's weights in the runtime that the configuration asks for.

    Raises ModelUnavailable without weights, InvalidWeights where they are no such network.
    """
    return OnnxRuntimeBackend(
        find_weights(model, config.weights),
        preprocessing=model.preprocessing,
        threads=config.threads,
    )
