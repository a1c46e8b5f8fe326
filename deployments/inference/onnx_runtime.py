"""ONNX Runtime, on the CPU or on a GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from configs.catalogue import Model, Preprocessing
from configs.model import Device, ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import Network
from deployments.inference.onnx_file import Port, Sizes, expected_sizes, run_in_pieces

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Photos come in many sizes, and an exhaustive search for each would take seconds. TF32 would round
# float32 to 10 bits.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}


class OnnxRuntimeBackend:
    """An ONNX file, whatever its inputs and outputs are called.

    Where the stage's networks have fixed sizes, the file's are checked and tried out at once. A
    file may take a fixed number of images: calls then run in pieces of it, the last one filled up.
    """

    runtime = "onnxruntime"

    def __init__(
        self,
        file: Path | bytes,
        *,
        source: str,
        model: Model,
        config: ModelConfig,
        network: Network,
    ) -> None:
        where = f"{model.id}: {source}"
        self._preprocessing = model.preprocessing
        self._session = _opened(file, config, where)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        batch = self._session.get_inputs()[0].shape[0]
        self._batch_size = batch if isinstance(batch, int) else None
        sizes = expected_sizes(network, where)
        if sizes:
            self._require(sizes)

    @property
    def device(self) -> str:
        return "cuda" if self._session.get_providers()[0] == _CUDA else "cpu"

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        return run_in_pieces(self._run, pixels, batch_size=self._batch_size)

    def _run(self, pixels: ByteArray, options: Any = None) -> list[FloatArray]:
        planes = normalise(pixels, self._preprocessing)
        answers: list[FloatArray] = self._session.run(self._outputs, {self._input: planes}, options)
        return answers

    def _require(self, sizes: Sizes) -> None:
        """Puts the output of the size first, and finds out how many images a call takes."""
        inputs = [_port(item) for item in self._session.get_inputs()]
        outputs = [_port(item) for item in self._session.get_outputs()]
        self._outputs.insert(0, self._outputs.pop(sizes.find_output(inputs, outputs)))
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # a failure is expected here, or raised
        self._batch_size = sizes.try_batch_size(
            lambda pixels: self._run(pixels, options), declared=self._batch_size
        )


class OnnxRuntimeFeatures:
    """An ONNX file that takes float32 arrays, as another one's outputs, in its inputs' order."""

    def __init__(self, file: bytes, *, where: str, config: ModelConfig) -> None:
        self._session = _opened(file, config, where)
        self._inputs = [item.name for item in self._session.get_inputs()]

    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        named = dict(zip(self._inputs, features, strict=True))
        return tuple(self._session.run(None, named))


def cuda_is_available() -> bool:
    """Whether this ONNX Runtime is one for GPUs."""
    return _CUDA in onnxruntime.get_available_providers()


def normalise(pixels: ByteArray, preprocessing: Preprocessing) -> FloatArray:
    """uint8 [B,H,W,3] BGR -> float32 [B,3,H,W] as the network was trained."""
    planes = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for image, own in zip(pixels, planes, strict=True):
        channels = cv2.split(image)  # half the time that NumPy takes for every third byte
        if preprocessing.rgb:
            channels = channels[::-1]
        for channel, mean, plane in zip(channels, preprocessing.mean, own, strict=True):
            np.subtract(channel, np.float32(mean), out=plane)
    if preprocessing.scale != 1.0:
        planes /= np.float32(preprocessing.scale)
    return planes


def _opened(file: Path | bytes, config: ModelConfig, where: str) -> Any:
    providers = _providers(config.device)
    try:
        session = onnxruntime.InferenceSession(
            str(file) if isinstance(file, Path) else file,
            _options(config.threads),
            providers=providers,
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no base of their own
        raise InvalidWeights(f"{where}: not a readable ONNX model: {error}") from error
    if config.device == "cuda" and session.get_providers()[0] != _CUDA:
        raise InvalidConfig(f"device: cuda, but ONNX Runtime could not start {_CUDA}")
    return session


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between calls would take the cores from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _providers(device: Device) -> list[str | tuple[str, dict[str, str]]]:
    available = onnxruntime.get_available_providers()
    if device == "cuda" and _CUDA not in available:
        raise InvalidConfig(
            "device: cuda needs ONNX Runtime's CUDAExecutionProvider (package onnxruntime-gpu);"
            f" this one has {', '.join(available)}"
        )
    if device == "cpu" or _CUDA not in available:
        return [_CPU]
    onnxruntime.preload_dlls()  # CUDA's libraries, which pip may have brought, are not on its path
    return [(_CUDA, _CUDA_OPTIONS), _CPU]


def _port(item: Any) -> Port:
    return Port(item.name, item.type, item.type == "tensor(float)", item.shape)
