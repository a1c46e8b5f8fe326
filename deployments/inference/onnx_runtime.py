"""ONNX Runtime's backend, on the CPU or on a GPU."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from configs.catalogue import Preprocessing
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import ModelSpec
from deployments.inference.half_precision import half_precision_file
from deployments.inference.onnx_file import Port, Sizes, expected_sizes, run_in_pieces

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CAPI = Path(onnxruntime.__file__).parent / "capi"
# The exhaustive search takes seconds for each new photo size. TF32 rounds float32 to 10 bits.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}


class OnnxRuntimeBackend:
    """An ONNX file in ONNX Runtime. Its inputs and outputs may have any names.

    If the stage's networks have fixed sizes, the constructor checks the file's and runs it once. A
    file may take a fixed number of images: `run` then splits a batch into pieces of that number,
    and pads the last one.
    """

    def __init__(self, file: Path | bytes, spec: ModelSpec) -> None:
        """Raises InvalidWeights for a file of another network, InvalidConfig if CUDA does not
        start."""
        self.choice = spec.choice
        self._preprocessing = spec.model.preprocessing
        self._session = _opened(file, spec)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        batch = self._session.get_inputs()[0].shape[0]
        self._batch_size = batch if isinstance(batch, int) else None
        sizes = expected_sizes(spec.network, spec.where)
        if sizes:
            self._require(sizes)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        return run_in_pieces(self._run, pixels, batch_size=self._batch_size)

    def _run(self, pixels: ByteArray, options: Any = None) -> list[FloatArray]:
        planes = normalise(pixels, self._preprocessing)
        answers: list[FloatArray] = self._session.run(self._outputs, {self._input: planes}, options)
        return answers

    def _require(self, sizes: Sizes) -> None:
        """Check the file's sizes, put the embedding's output first, find the file's batch size."""
        inputs = [_port(item) for item in self._session.get_inputs()]
        outputs = [_port(item) for item in self._session.get_outputs()]
        self._outputs.insert(0, self._outputs.pop(sizes.find_output(inputs, outputs)))
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # logs nothing: a failure is expected here, or raised
        self._batch_size = sizes.try_batch_size(
            lambda pixels: self._run(pixels, options), declared=self._batch_size
        )


class OnnxRuntimeFeatures:
    """The second part of a SplitBackend in ONNX Runtime; features in the order of its inputs."""

    def __init__(self, file: bytes, spec: ModelSpec) -> None:
        self._session = _opened(file, spec)
        self._inputs = [item.name for item in self._session.get_inputs()]

    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        named = dict(zip(self._inputs, features, strict=True))
        return tuple(self._session.run(None, named))


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


def _opened(file: Path | bytes, spec: ModelSpec) -> Any:
    on_cuda = spec.choice.device == "cuda"
    if spec.choice.precision == "float16":
        file = half_precision_file(file)
    try:
        session = onnxruntime.InferenceSession(
            str(file) if isinstance(file, Path) else file,
            _options(spec.config.threads),
            providers=_cuda_providers() if on_cuda else [_CPU],
        )
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise InvalidWeights(f"{spec.where}: not a readable ONNX model: {error}") from error
    if on_cuda and session.get_providers()[0] != _CUDA:
        why = load_fault(_CAPI / "libonnxruntime_providers_cuda.so") or "no GPU answers"
        raise InvalidConfig(f"device: cuda, but ONNX Runtime could not start {_CUDA}: {why}")
    return session


def load_fault(library: Path) -> str | None:
    """The reason why a library of ONNX Runtime cannot be loaded, with the name of a missing one.

    None if it can. ONNX Runtime itself only logs the reason.
    """
    try:
        for path in (_CAPI / "libonnxruntime_providers_shared.so", library):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between calls would take the cores from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _cuda_providers() -> list[str | tuple[str, dict[str, str]]]:
    onnxruntime.preload_dlls()  # CUDA's libraries from pip packages are not on the library path
    return [(_CUDA, _CUDA_OPTIONS), _CPU]


def _port(item: Any) -> Port:
    return Port(item.name, item.type, item.type == "tensor(float)", item.shape)
