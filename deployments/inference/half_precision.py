"""Half precision: ONNX files converted to it, and recognizers checked in it as they load."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deployments.contracts import ByteArray, FloatArray
from deployments.inference.backend import Backend, ModelSpec

# Lowest cosine of a canary's embedding in float16 with that in float32.
LOWEST_COSINE = 0.9999
_CANARIES = 8
_CELLS = 7  # of a canary's grid of random colours, along each side

logger = logging.getLogger("ray.serve")


def half_if_near(load: Callable[[ModelSpec], Backend], spec: ModelSpec) -> Backend:
    """The recognizer in float16 or, if an embedding is not near that of float32, in float32.

    load: loads the model as a spec says; called once or twice more.
    """
    exact = replace(spec.choice, precision="float32", torch_mode=spec.choice.torch_mode and "eager")
    pixels = canaries(spec)
    expected = load(replace(spec, choice=exact)).run(pixels)[0]
    half = load(spec)
    lowest = float(_cosines(half.run(pixels)[0], expected).min())
    if lowest >= LOWEST_COSINE:
        return half
    why = f"float16 gives a cosine of {lowest:.5f} with float32, {LOWEST_COSINE} is the least"
    logger.warning("%s: runs in float32: %s", spec.where, why)
    reason = f"{spec.choice.reason}; {why}"
    return load(replace(spec, choice=replace(spec.choice, precision="float32", reason=reason)))


def canaries(spec: ModelSpec) -> ByteArray:
    """Blended random colours, always the same: uint8 [8,H,W,3] in the network's size."""
    assert spec.network.input_size is not None
    height, width = spec.network.input_size
    random = np.random.default_rng(0)
    grids = random.integers(0, 256, (_CANARIES, _CELLS, _CELLS, 3), dtype=np.uint8)
    return np.stack([cv2.resize(grid, (width, height)).astype(np.uint8) for grid in grids])


def half_precision_file(file: Path | bytes) -> bytes:
    """The ONNX file with float16 weights and activations; its inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    content = file.read_bytes() if isinstance(file, Path) else file
    model = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    converted: bytes = model.SerializeToString()
    return converted


def _cosines(vectors: FloatArray, others: FloatArray) -> FloatArray:
    """Of each pair of rows, float32 [N]; not a number counts as 0."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    cosines: FloatArray = np.nan_to_num((vectors * others).sum(axis=1) / lengths)
    return cosines
