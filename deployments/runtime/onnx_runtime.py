"""ONNX Runtime, on the CPU or on a GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from configs.model import Device, ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.models import Model, Preprocessing
from deployments.runtime.network import Network

Shape = Sequence[int | str | None]

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
        self._where = f"{model.id}: {source}"
        self._preprocessing = model.preprocessing
        self._session = self._opened(file, config)
        self._outputs = [output.name for output in self._session.get_outputs()]
        if network.input_size and network.output_size:
            self._require_sizes((3, *network.input_size), network.output_size)
        self._input = self._session.get_inputs()[0].name
        batch = self.input_shape[0]
        self._batch_size = batch if isinstance(batch, int) else None
        if network.input_size and network.output_size:
            self._batch_size = self._tried_batch_size(network.input_size, network.output_size)

    @property
    def device(self) -> str:
        return "cuda" if self._session.get_providers()[0] == _CUDA else "cpu"

    @property
    def input_shape(self) -> Shape:
        """As the file declares it: a number where an axis is fixed, else a name or None."""
        shape: Shape = self._session.get_inputs()[0].shape
        return shape

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        size = self._batch_size or len(pixels)
        pieces = [self._run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        if len(pieces) == 1:
            return tuple(pieces[0])
        return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))

    def _run(self, pixels: ByteArray, options: Any = None) -> list[FloatArray]:
        missing = (self._batch_size or 0) - len(pixels)
        filled = np.pad(pixels, [(0, missing), (0, 0), (0, 0), (0, 0)]) if missing > 0 else pixels
        planes = normalise(filled, self._preprocessing)
        answers = self._session.run(self._outputs, {self._input: planes}, options)
        return [answer[: len(pixels)] for answer in answers]

    def _opened(self, file: Path | bytes, config: ModelConfig) -> Any:
        providers = _providers(config.device)
        try:
            session = onnxruntime.InferenceSession(
                str(file) if isinstance(file, Path) else file,
                _options(config.threads),
                providers=providers,
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no base of their own
            raise InvalidWeights(f"{self._where}: not a readable ONNX model: {error}") from error
        if config.device == "cuda" and session.get_providers()[0] != _CUDA:
            raise InvalidConfig(f"device: cuda, but ONNX Runtime could not start {_CUDA}")
        return session

    def _require_sizes(self, input_shape: Shape, output_size: int) -> None:
        """One input of the shape, and an output of the size, which becomes the first one."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not _fits(inputs[0], (None, *input_shape)):
            raise InvalidWeights(
                f"{self._where}: expected one float32 input {_text((None, *input_shape))},"
                f" found {_listed(inputs)}"
            )
        fitting = [item.name for item in outputs if _fits(item, (None, output_size))]
        if not fitting:
            raise InvalidWeights(
                f"{self._where}: expected a float32 output {_text((None, output_size))},"
                f" found {_listed(outputs)}"
            )
        self._outputs.sort(key=lambda name: name != fitting[0])

    def _tried_batch_size(self, input_size: tuple[int, int], output_size: int) -> int | None:
        """How many images a call takes, None for any: some files declare any, and take one."""
        declared, problem = self._batch_size, ""
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # a failure is expected here, or raised below
        for count in (declared,) if declared else (2, 1):
            try:
                answer = self._run(np.zeros((count, *input_size, 3), np.uint8), options)[0]
            except Exception as error:  # ONNX Runtime's own exceptions share no base of their own
                problem = str(error)
                continue
            if answer.shape == (count, output_size):
                return None if count == 2 and not declared else count
            problem = f"{count} images give an output {_text(answer.shape)}"
        raise InvalidWeights(f"{self._where}: expected an output (N, {output_size}): {problem}")


def normalise(pixels: ByteArray, preprocessing: Preprocessing) -> FloatArray:
    """uint8 [B,H,W,3] BGR -> float32 [B,3,H,W] as the network was trained."""
    channels = pixels[..., ::-1] if preprocessing.rgb else pixels
    planes = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for channel, mean in enumerate(preprocessing.mean):
        np.subtract(channels[..., channel], np.float32(mean), out=planes[:, channel])
    if preprocessing.scale != 1.0:
        planes /= np.float32(preprocessing.scale)
    return planes


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
    return [(_CUDA, _CUDA_OPTIONS), _CPU]


def _fits(declared: Any, shape: Shape) -> bool:
    """Whether an input or output has these sizes. Free axes, names or None, fit any."""
    if declared.type != "tensor(float)" or len(declared.shape) != len(shape):
        return False
    pairs = zip(declared.shape, shape, strict=True)
    return all(size == asked for size, asked in pairs if isinstance(size, int) and asked)


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(f"{item.name} {item.type} {_text(item.shape)}" for item in items) or "none"


def _text(shape: Shape) -> str:
    return f"[{', '.join('*' if size is None else str(size) for size in shape)}]"
