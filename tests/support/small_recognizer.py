"""A small recognizer as an ONNX file of FRFM's and FRIR's shapes.

It multiplies the mean colours of a chip's cells with `WEIGHT`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from deployments.contracts import ByteArray, FloatArray
from deployments.recognizer.recognizer import l2_normalise

CELLS = 4  # of 28 pixels, along each side of a chip
WEIGHT = np.random.RandomState(0).standard_normal((3 * CELLS**2, 512)).astype(np.float32)
OUTPUT = "fc1_683"
Shape = tuple[int | str, ...]


def save_onnx(folder: Path, **shapes: Any) -> Path:
    """Save the file that `small_recognizer` makes of these shapes as `model.onnx`."""
    onnx.save(small_recognizer(**shapes), folder / "model.onnx")
    return folder


def small_recognizer(
    *,
    takes: Shape = ("N", 3, 112, 112),
    gives: Shape = ("N", 512),
    size: int = 512,
    rows: int = -1,
    inputs: tuple[str, ...] = ("data",),
    head: Sequence[NodeProto] = (),
    constants: Mapping[str, Any] | None = None,
) -> ModelProto:
    """A network with unusual names.

    takes, gives: the shapes that the file declares. It really gives `size` numbers a chip, and only
    runs on `rows` chips unless that is -1. head: the nodes from `flat`, the colours float32 [N,48],
    to OUTPUT in place of the product with `weight`. constants: beside `weight`, or instead of it.
    """
    cell = [112 // CELLS] * 2
    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=cell, strides=cell),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        *(head or [helper.make_node("MatMul", ["flat", "weight"], [OUTPUT])]),
    ]
    stored = {"shape": np.asarray([rows, len(WEIGHT)]), "weight": WEIGHT[:, :size]}
    stored |= constants or {}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, takes) for name in inputs],
        [
            helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", len(WEIGHT)]),
            helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, gives),
        ],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def expected_vectors(chips: ByteArray) -> FloatArray:
    """The embeddings of chips uint8 [N,112,112,3]: float32 [N,512]."""
    cells = chips.reshape(len(chips), CELLS, 28, CELLS, 28, 3).mean(axis=(2, 4))
    rgb = cells[..., ::-1].transpose(0, 3, 1, 2).reshape(len(chips), len(WEIGHT))
    return l2_normalise(((rgb / 255 - 0.5) / 0.5).astype(np.float32) @ WEIGHT)
