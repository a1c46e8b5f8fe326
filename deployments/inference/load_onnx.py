"""Loads an ONNX file into ONNX Runtime or OpenVINO."""

import logging
from dataclasses import replace
from pathlib import Path

from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import Backend, FeaturesToOutputs, ModelSpec, SplitBackend
from deployments.inference.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeFeatures
from deployments.inference.onnx_split import split_at_concatenation

logger = logging.getLogger("ray.serve")

# `openvino_runtime` is imported inside functions: OpenVINO costs memory, and may be missing.


def backend_from_onnx(file: Path | bytes, spec: ModelSpec) -> Backend:
    """The file in the chosen runtime or, if that fails, in the choice's fallback.

    Raises InvalidWeights if the file is not the network's, InvalidConfig if the runtime does not
    start on the device.
    """
    try:
        return _split(file, spec) if spec.network.in_levels else _whole(file, spec)
    except (InvalidConfig, InvalidWeights) as error:
        if spec.choice.fallback is None:
            raise
        logger.warning("%s: falls back to %s: %s", spec.where, spec.choice.fallback.runtime, error)
    return backend_from_onnx(file, replace(spec, choice=spec.choice.fallback))


def _split(file: Path | bytes, spec: ModelSpec) -> SplitBackend:
    content = file.read_bytes() if isinstance(file, Path) else file
    graph = split_at_concatenation(content, where=spec.where)
    return SplitBackend(_whole(graph.first, spec), _features(graph.second, spec), graph.outputs)


def _whole(file: Path | bytes, spec: ModelSpec) -> Backend:
    if spec.choice.runtime == "onnxruntime":
        return OnnxRuntimeBackend(file, spec)
    from deployments.inference.openvino_runtime import OpenVinoBackend

    return OpenVinoBackend(file, spec)


def _features(file: bytes, spec: ModelSpec) -> FeaturesToOutputs:
    if spec.choice.runtime == "onnxruntime":
        return OnnxRuntimeFeatures(file, spec)
    from deployments.inference.openvino_runtime import OpenVinoFeatures

    return OpenVinoFeatures(file, spec)
