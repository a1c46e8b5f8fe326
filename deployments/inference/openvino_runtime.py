"""OpenVINO, on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as opset
from openvino.preprocess import PrePostProcessor

from configs.catalogue import Model, Preprocessing
from configs.environment import compiled_models_folder
from configs.model import ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import Network
from deployments.inference.export_cache import writable
from deployments.inference.onnx_file import Port, expected_sizes, run_in_pieces

_DEVICE = "CPU"
# Operators that each stream keeps prepared for the sizes it saw: about 40 make one size of photo
# in retinaface-mnet025, so a dozen sizes stay prepared; one that does not costs a sixth of a call
# more. With OpenVINO's own 5000, a replica that sees hundreds of sizes takes more memory for each.
_PREPARED_OPERATORS = 600


class OpenVinoBackend:
    """An ONNX file, whatever its inputs and outputs are called, that takes pixels as they are: the
    compiled network converts and normalises them.

    At most `workers` calls run at a time, each on a stream of `threads` threads as far as there are
    cores; more wait in `run`. A size of photo that was not seen lately takes longer, as its
    operators are prepared; nothing is compiled anew. Where the stage's networks have fixed sizes,
    the file's are checked and tried out at once.
    """

    runtime = "openvino"
    device = "cpu"

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
        settings = openvino_settings(config, capabilities=_capabilities())
        graph = _read(file, where)
        inputs, outputs = [[_port(item) for item in side] for side in (graph.inputs, graph.outputs)]
        self._outputs = list(range(len(outputs)))
        sizes = expected_sizes(network, where)
        if sizes:
            self._outputs.insert(0, self._outputs.pop(sizes.find_output(inputs, outputs)))
        folded = _with_preprocessing(graph, model.preprocessing, where)
        self._any = _Requests(folded, settings, where, count=config.workers)
        self._one = self._any
        batch = inputs[0].shape[0]
        self._batch_size = batch if isinstance(batch, int) else None
        if sizes:
            self._batch_size = sizes.try_batch_size(self._run, declared=self._batch_size)
        if sizes and self._batch_size is None:
            # Compiled for the one size, a lone chip takes an eighth less time (arcface-mbf).
            folded.reshape([1, *sizes.input_size, 3])
            self._one = _Requests(folded, settings, where, count=config.workers)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        return run_in_pieces(self._run, pixels, batch_size=self._batch_size)

    def _run(self, pixels: ByteArray) -> list[FloatArray]:
        requests = self._one if len(pixels) == 1 else self._any
        answers = requests.infer([pixels])
        return [answers[index] for index in self._outputs]


class OpenVinoFeatures:
    """An ONNX file that takes float32 arrays, as another one's outputs, in its inputs' order."""

    def __init__(self, file: bytes, *, where: str, config: ModelConfig) -> None:
        settings = openvino_settings(config, capabilities=_capabilities())
        self._requests = _Requests(_read(file, where), settings, where, count=config.workers)

    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        return tuple(self._requests.infer(features))


class _Requests:
    """A compiled network, and as many calls of it at a time as there are requests."""

    def __init__(self, graph: Any, settings: dict[str, Any], where: str, *, count: int) -> None:
        compiled = _compiled(graph, settings, where)
        self._outputs = range(len(compiled.outputs))
        self._free: LifoQueue[Any] = LifoQueue()  # the last used one's memory is in the caches
        for _ in range(count):
            self._free.put(compiled.create_infer_request())

    def infer(self, inputs: Sequence[ByteArray] | Sequence[FloatArray]) -> list[FloatArray]:
        request = self._free.get()
        try:
            # Read where it lies; the answers are copies, as the next call overwrites its own.
            answers = request.infer(list(inputs), share_inputs=True, share_outputs=False)
            return [answers[index] for index in self._outputs]
        finally:
            self._free.put(request)


def computes_bfloat16() -> bool:
    """Whether this CPU computes bfloat16 natively: elsewhere it is slower than float32."""
    return "BF16" in _capabilities()


def openvino_settings(config: ModelConfig, *, capabilities: Sequence[str]) -> dict[str, Any]:
    """What a model is compiled with, on a CPU of these `OPTIMIZATION_CAPABILITIES`.

    Raises InvalidConfig where it does not compute the precision.
    """
    if config.precision == "bfloat16" and "BF16" not in capabilities:
        raise InvalidConfig(
            "precision: bfloat16 in openvino needs a CPU that computes it natively (AVX-512 BF16"
            " or AMX), and this one does not; take float32"
        )
    folder = writable(compiled_models_folder())
    return {
        # Never left out: OpenVINO would take bfloat16 for float32 models where it is native.
        "INFERENCE_PRECISION_HINT": "bf16" if config.precision == "bfloat16" else "f32",
        "NUM_STREAMS": config.workers,
        "INFERENCE_NUM_THREADS": config.workers * config.threads,
        # The replicas of several stages share the cores, and each would pin its threads to the
        # first ones.
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": _PREPARED_OPERATORS,
    } | ({"CACHE_DIR": str(folder)} if folder else {})


def _capabilities() -> Sequence[str]:
    found: Sequence[str] = openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return found


def _read(file: Path | bytes, where: str) -> Any:
    try:
        graph = openvino.Core().read_model(file)
    except Exception as error:  # OpenVINO's own exceptions share no base of their own
        raise _unreadable(where, error) from error
    widen_small_groups(graph)
    return graph


def _compiled(graph: Any, settings: dict[str, Any], where: str) -> Any:
    try:
        return openvino.Core().compile_model(graph, _DEVICE, settings)
    except Exception as error:  # OpenVINO's own exceptions share no base of their own
        raise _unreadable(where, error) from error


def _with_preprocessing(graph: Any, preprocessing: Preprocessing, where: str) -> Any:
    """The network with an input uint8 [B,H,W,3] BGR."""
    try:
        return _preprocessed(graph, preprocessing)
    except Exception as error:  # OpenVINO's own exceptions share no base of their own
        raise _unreadable(where, error) from error


def _preprocessed(graph: Any, preprocessing: Preprocessing) -> Any:
    builder = PrePostProcessor(graph)
    pixels = builder.input()
    pixels.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    pixels.model().set_layout(openvino.Layout("NCHW"))
    steps = pixels.preprocess().convert_element_type(openvino.Type.f32)
    if preprocessing.rgb:
        steps.reverse_channels()
    steps.mean(list(preprocessing.mean)).scale([preprocessing.scale] * 3)
    return builder.build()


def _port(item: Any) -> Port:
    kind = item.get_element_type()
    shape = [None if axis.is_dynamic else axis.get_length() for axis in item.get_partial_shape()]
    return Port(item.get_any_name(), kind.get_type_name(), kind == openvino.Type.f32, shape)


def _unreadable(where: str, error: Exception) -> InvalidWeights:
    return InvalidWeights(f"{where}: not an ONNX model that OpenVINO runs: {error}")


# OpenVINO has quick ways for groups of one channel, and of as many as fit a register; groups of two
# or four cost as much as eight or more. On arcface-mbf, whose second convolution has 64 groups of
# two, a chip takes 0.84 of the time in bfloat16 and 0.96 in float32 (benchmarks/models).
_CHANNELS = 8


def widen_small_groups(graph: Any) -> None:
    """Makes groups of two to seven channels groups of eight, in place: several become one, whose
    weights between what were different groups are zero, so that the answers stay the same."""
    for convolution in graph.get_ops():
        if convolution.get_type_name() != "GroupConvolution":
            continue
        weights = _weights(convolution)
        if weights is None:
            continue
        merged = _merged_groups(weights.shape)
        if merged > 1:
            _replace(convolution, _merge_groups(weights, merged))


def _weights(convolution: Any) -> FloatArray | None:
    """float32 [G, outputs, inputs, ...] of G groups; None where the network computes them."""
    shape = convolution.input_value(1).get_partial_shape()
    source = convolution.input_value(1).get_node()
    if source.get_type_name() == "Reshape":  # as ONNX files are read
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() != openvino.Type.f32:
        return None
    weights: FloatArray = np.asarray(source.data, np.float32).reshape(shape.to_shape())
    return weights


def _merged_groups(shape: tuple[int, ...]) -> int:
    """How many groups become one; 1 where they stay as they are."""
    groups, _, inputs, *_ = shape
    merged = _CHANNELS // inputs if 1 < inputs < _CHANNELS else 1
    return merged if groups % merged == 0 else 1


def _merge_groups(weights: FloatArray, merged: int) -> FloatArray:
    groups, outputs, inputs, *kernel = weights.shape
    wide = np.zeros((groups // merged, merged, outputs, merged, inputs, *kernel), np.float32)
    for one in range(merged):
        wide[:, one, :, one] = weights[one::merged]
    return wide.reshape(groups // merged, merged * outputs, merged * inputs, *kernel)


def _replace(convolution: Any, weights: FloatArray) -> None:
    settings = convolution.get_attributes()
    other = opset.group_convolution(
        convolution.input_value(0),
        opset.constant(weights),
        settings["strides"],
        settings["pads_begin"],
        settings["pads_end"],
        settings["dilations"],
        settings["auto_pad"],
    )
    other.set_friendly_name(convolution.get_friendly_name())
    openvino.utils.replace_node(convolution, other)
