"""Widened convolutions of small groups give the same outputs as before."""

from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as opset

from deployments.contracts import FloatArray
from deployments.inference.openvino_runtime import widen_small_groups

SIDE = 9


def graph_of(groups: int, outputs: int, inputs: int, weights: Any = None) -> openvino.Model:
    """A convolution whose strides differ, and whose dilations differ."""
    random = np.random.default_rng(groups)
    values = random.normal(size=(groups, outputs, inputs, 3, 3)).astype(np.float32)
    pixels = opset.parameter([1, groups * inputs, SIDE, SIDE], np.float32)
    convolved = opset.group_convolution(
        pixels,
        opset.constant(values) if weights is None else weights,
        [2, 1],
        [1, 0],
        [0, 1],
        [1, 2],
    )
    return openvino.Model([convolved], [pixels])


def answer(graph: openvino.Model, pixels: FloatArray) -> FloatArray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    return np.asarray(compiled(pixels)[0])


def weight_shape(graph: openvino.Model) -> list[int]:
    (convolution,) = (one for one in graph.get_ops() if one.get_type_name() == "GroupConvolution")
    return list(convolution.input_value(1).get_shape())


@pytest.mark.parametrize(
    ("groups", "outputs", "inputs", "widened"),
    [
        (64, 2, 2, [16, 8, 8]),
        (8, 3, 4, [4, 6, 8]),
        (4, 1, 3, [2, 2, 6]),
        (5, 2, 2, [5, 2, 2]),  # five groups cannot be merged by four
        (6, 1, 1, [6, 1, 1]),  # each channel its own
        (2, 8, 8, [2, 8, 8]),
    ],
)
def test_small_groups_become_larger_ones_with_the_same_answer(
    groups: int, outputs: int, inputs: int, widened: list[int]
) -> None:
    graph = graph_of(groups, outputs, inputs)
    pixels = np.random.default_rng(1).normal(size=(1, groups * inputs, SIDE, SIDE))
    before = answer(graph, pixels.astype(np.float32))
    widen_small_groups(graph)
    assert weight_shape(graph)[:3] == widened
    after = answer(graph, pixels.astype(np.float32))
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_weights_that_are_computed_stay_as_they_are() -> None:
    computed = opset.exp(opset.constant(np.zeros((4, 2, 2, 3, 3), np.float32)))
    graph = graph_of(4, 2, 2, weights=computed)
    widen_small_groups(graph)
    assert weight_shape(graph) == [4, 2, 2, 3, 3]
