"""ONNX Runtime on the CPU."""

import numpy as np
import onnxruntime

from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidWeights
from deployments.models import Preprocessing
from deployments.runtime.weights import Weights


class OnnxRuntimeBackend:
    runtime = "onnxruntime"
    device = "cpu"

    def __init__(self, weights: Weights, *, preprocessing: Preprocessing, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between calls would take the cores from the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                weights.content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no base of their own
            raise InvalidWeights(f"{weights.source}: not a readable ONNX model: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._preprocessing = preprocessing

    @property
    def input_shape(self) -> list[int | str | None]:
        """As the file declares it: a number where an axis is fixed, else a name or None."""
        return list(self._session.get_inputs()[0].shape)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        return tuple(self._session.run(None, {self._input: normalise(pixels, self._preprocessing)}))


def normalise(pixels: ByteArray, preprocessing: Preprocessing) -> FloatArray:
    """uint8 [B,H,W,3] BGR -> float32 [B,3,H,W] as the network was trained."""
    channels = pixels[..., ::-1] if preprocessing.rgb else pixels
    planes = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for channel, mean in enumerate(preprocessing.mean):
        np.subtract(channels[..., channel], np.float32(mean), out=planes[:, channel])
    if preprocessing.scale != 1.0:
        planes /= np.float32(preprocessing.scale)
    return planes
