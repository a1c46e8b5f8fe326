"""Convolutions of many small groups, as OpenVINO computes them quickest on a CPU."""

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as opset

from deployments.contracts import FloatArray

# OpenVINO has quick ways for groups of one channel, and of as many as fit a register; groups of two
# or four cost as much as eight or more. On arcface-mbf, whose second convolution has 64 groups of
# two, a chip takes 0.84 of the time in bfloat16 and 0.96 in float32 (benchmarks/small_groups.py).
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
