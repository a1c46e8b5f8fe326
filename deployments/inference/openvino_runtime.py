"""OpenVINO's backend, on the CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as opset
from openvino.preprocess import PrePostProcessor

from configs.catalogue import Preprocessing
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidWeights
from deployments.inference.backend import ModelSpec
from deployments.inference.export_cache import locked_cache_folder
from deployments.inference.onnx_file import Port, expected_sizes, run_in_pieces

_DEVICE = "CPU"
# Prepared operators that each stream keeps. One photo size takes about 40 in retinaface-mnet025, so
# a dozen sizes stay prepared; a call of another size takes a sixth longer. With OpenVINO's default,
# 5000, the memory of a replica that sees hundreds of sizes grows with each.
_PREPARED_OPERATORS = 600


class OpenVinoBackend:
    """An ONNX file in OpenVINO. Its inputs and outputs may have any names.

    The compiled network also converts and normalises the pixels. At most `workers` calls run at a
    time, each on a stream of `threads` threads, as far as there are cores; further ones wait in
    `run`. A photo size that was not seen lately takes longer, because its operators are prepared;
    nothing is compiled again. If the stage's networks have fixed sizes, the constructor checks the
    file's and runs it once.
    """

    def __init__(self, file: Path | bytes, spec: ModelSpec) -> None:
        """Raises InvalidWeights for a file of another network or one that OpenVINO cannot run."""
        self.choice = spec.choice
        where, count = spec.where, spec.config.workers
        settings = openvino_settings(spec)
        graph = _read(file, where)
        inputs, outputs = [[_port(item) for item in side] for side in (graph.inputs, graph.outputs)]
        self._outputs = list(range(len(outputs)))
        sizes = expected_sizes(spec.network, where)
        if sizes:
            self._outputs.insert(0, self._outputs.pop(sizes.find_output(inputs, outputs)))
        with _refusing(where):
            graph = _with_preprocessing(graph, spec.model.preprocessing)
        self._any_batch = _Requests(graph, settings, where, count=count)
        self._one_image = self._any_batch
        batch = inputs[0].shape[0]
        self._batch_size = batch if isinstance(batch, int) else None
        if sizes:
            self._batch_size = sizes.try_batch_size(self._run, declared=self._batch_size)
        if sizes and self._batch_size is None:
            # Compiled for a batch of one, a single chip takes an eighth less time (arcface-mbf).
            graph.reshape([1, *sizes.input_size, 3])
            self._one_image = _Requests(graph, settings, where, count=count)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        return run_in_pieces(self._run, pixels, batch_size=self._batch_size)

    def _run(self, pixels: ByteArray) -> list[FloatArray]:
        requests = self._one_image if len(pixels) == 1 else self._any_batch
        answers = requests.infer([pixels])
        return [answers[index] for index in self._outputs]


class OpenVinoFeatures:
    """The second part of a SplitBackend in OpenVINO; features in the order of its inputs."""

    def __init__(self, file: bytes, spec: ModelSpec) -> None:
        graph, settings = _read(file, spec.where), openvino_settings(spec)
        self._requests = _Requests(graph, settings, spec.where, count=spec.config.workers)

    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        return tuple(self._requests.infer(features))


class _Requests:
    """A compiled network with `count` infer requests, which is the most calls at a time."""

    def __init__(self, graph: Any, settings: dict[str, Any], where: str, *, count: int) -> None:
        with _refusing(where), locked_cache_folder() as folder:
            cache = {"CACHE_DIR": str(folder)} if folder else {}
            compiled = openvino.Core().compile_model(graph, _DEVICE, settings | cache)
        self._outputs = range(len(compiled.outputs))
        self._free: LifoQueue[Any] = LifoQueue()  # the last used request's memory is cached
        for _ in range(count):
            self._free.put(compiled.create_infer_request())

    def infer(self, inputs: Sequence[ByteArray] | Sequence[FloatArray]) -> list[FloatArray]:
        request = self._free.get()
        try:
            # Inputs are not copied; outputs are, because the next call overwrites them.
            answers = request.infer(list(inputs), share_inputs=True, share_outputs=False)
            return [answers[index] for index in self._outputs]
        finally:
            self._free.put(request)


def openvino_settings(spec: ModelSpec) -> dict[str, Any]:
    """The properties that a model is compiled with."""
    workers = spec.config.workers
    return {
        # Always given: by default OpenVINO runs float32 models in bfloat16 if that is native.
        "INFERENCE_PRECISION_HINT": "bf16" if spec.choice.precision == "bfloat16" else "f32",
        "NUM_STREAMS": workers,
        "INFERENCE_NUM_THREADS": workers * spec.config.threads,
        # Replicas of several stages share the cores. With pinning, each would take the first ones.
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": _PREPARED_OPERATORS,
    }


def _read(file: Path | bytes, where: str) -> Any:
    with _refusing(where):
        graph = openvino.Core().read_model(file)
    widen_small_groups(graph)
    return graph


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Raise OpenVINO's errors as InvalidWeights."""
    try:
        yield
    except Exception as error:  # OpenVINO's exceptions have no base class of their own
        message = f"{where}: not an ONNX model that OpenVINO runs: {error}"
        raise InvalidWeights(message) from error


def _with_preprocessing(graph: Any, preprocessing: Preprocessing) -> Any:
    """The network with an input uint8 [B,H,W,3] BGR."""
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


# OpenVINO has fast kernels for groups of one channel and of a register's width; groups of two or
# four cost as much as eight or more. With widened groups, arcface-mbf, whose second convolution has
# 64 groups of two, takes 0.84 of the time in bfloat16 and 0.96 in float32 (benchmarks/models).
_CHANNELS = 8


def widen_small_groups(graph: Any) -> None:
    """Merge groups of two to seven channels into groups of eight, in place.

    Weights between channels of formerly different groups are zero, so the outputs stay the same.
    """
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
    """float32 [G, outputs, inputs, ...] of G groups; None if they are not constants."""
    shape = convolution.input_value(1).get_partial_shape()
    source = convolution.input_value(1).get_node()
    if source.get_type_name() == "Reshape":  # OpenVINO's ONNX reader adds it
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() != openvino.Type.f32:
        return None
    weights: FloatArray = np.asarray(source.data, np.float32).reshape(shape.to_shape())
    return weights


def _merged_groups(shape: tuple[int, ...]) -> int:
    """The number of groups to merge into one; 1 to leave them unchanged."""
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
