"""Half precision: ONNX files converted to it, and networks checked in it as they load."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deployments.contracts import ByteArray, FloatArray
from deployments.inference.backend import Backend, ChosenPrecision, ModelSpec

# Lowest cosines of a network's outputs for a canary in float16 with those in float32. A detector's
# are offsets of a tenth of an anchor's side: at 0.999 they move by half a per cent of a face.
LOWEST_COSINE, LOWEST_OF_DETECTORS = 0.9999, 0.999
_CANARIES = 8
_CELLS = 7  # of a canary's grid of random colours, along each side
_ANY_SIZE = (256, 256)  # height and width of the canaries of a network that takes any

logger = logging.getLogger("ray.serve")


def half_if_near(load: Callable[[ModelSpec], Backend], spec: ModelSpec) -> Backend:
    """The model in float16 or, if that fails or gives an output that is not near that in float32,
    in float32.

    load: loads the model as a spec says. The plain network is compared, without recordings and
    canvases; a model with either is loaded once more.
    """
    is_plain = spec.network.on_canvases is None and spec.choice.torch_mode != "cuda_graphs"
    network = replace(spec.network, canvases=lambda device: (), on_canvases=None)

    def plain(precision: ChosenPrecision) -> Backend:
        mode = spec.choice.torch_mode and "eager"
        choice = replace(spec.choice, precision=precision, torch_mode=mode)
        return load(replace(spec, network=network, choice=choice))

    half = _near_float32(plain, canaries(spec), _least_cosine(spec))
    if isinstance(half, str):
        return _in_float32(load, spec, why=half)
    return half if is_plain else load(spec)


def _near_float32(
    plain: Callable[[ChosenPrecision], Backend], pixels: ByteArray, least: float
) -> Backend | str:
    """The network in float16, or why it cannot be used."""
    try:
        half = plain("float16")
        found = half.run(pixels)
    except Exception as error:  # converters and runtimes raise what they like
        lines = str(error).splitlines() or [type(error).__name__]
        return f"float16 fails: {lines[0]}"
    pairs = zip(found, plain("float32").run(pixels), strict=True)
    lowest = min(float(_cosines(output, expected).min()) for output, expected in pairs)
    if lowest < least:
        return f"float16 gives a cosine of {lowest:.5f} with float32, {least} is the least"
    return half


def _in_float32(load: Callable[[ModelSpec], Backend], spec: ModelSpec, *, why: str) -> Backend:
    reason = f"{spec.choice.reason}; {why}"
    exact = load(replace(spec, choice=replace(spec.choice, precision="float32", reason=reason)))
    logger.warning("%s: runs in float32: %s", spec.where, why)
    return exact


def _least_cosine(spec: ModelSpec) -> float:
    return LOWEST_COSINE if spec.network.output_size else LOWEST_OF_DETECTORS


def canaries(spec: ModelSpec) -> ByteArray:
    """Blended random colours, always the same: uint8 [8,H,W,3] in the network's size."""
    height, width = spec.network.input_size or _ANY_SIZE
    random = np.random.default_rng(0)
    grids = random.integers(0, 256, (_CANARIES, _CELLS, _CELLS, 3), dtype=np.uint8)
    return np.stack([cv2.resize(grid, (width, height)).astype(np.uint8) for grid in grids])


def half_precision_file(file: Path | bytes) -> bytes:
    """The ONNX file with float16 weights and activations; its inputs and outputs stay float32.

    Weights that lie in files beside it are read too. Raises what ONNX and its converter raise, also
    for a result of over 2 GiB.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(file) if isinstance(file, Path) else onnx.load_from_string(file)
    converted: bytes = convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    return converted


def _cosines(found: FloatArray, expected: FloatArray) -> FloatArray:
    """The cosine of each image's numbers, float32 [B]; not a number counts as 0."""
    vectors, others = (output.reshape(len(output), -1) for output in (found, expected))
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    with np.errstate(invalid="ignore"):  # an overflow
        cosines: FloatArray = np.nan_to_num((vectors * others).sum(axis=1) / lengths)
    return cosines
