"""The layout of an ONNX file, read without a runtime."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import GraphProto, ValueInfoProto

from deployments.errors import InvalidWeights


@dataclass(frozen=True, slots=True)
class Axes:
    """An input or output of an ONNX file; shape: None for each free axis."""

    name: str
    shape: list[int | None]


def read_layout(path: Path, *, where: str) -> tuple[list[Axes], list[Axes]]:
    """The inputs, without stored weights, and the outputs.

    Raises InvalidWeights, beginning with `where`, for a file that is no ONNX model.
    """
    graph = _graph(path, where)
    stored = {tensor.name for tensor in graph.initializer}
    return _axes(one for one in graph.input if one.name not in stored), _axes(graph.output)


def last_operator(path: Path, *, where: str) -> str | None:
    """The operator that gives the first output, such as `Softmax`; None for a stored one.

    Raises InvalidWeights as `read_layout`.
    """
    graph = _graph(path, where)
    name = graph.output[0].name
    return next((node.op_type for node in graph.node if name in node.output), None)


def _graph(path: Path, where: str) -> GraphProto:
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf has no stubs that name its errors
        raise InvalidWeights(f"{where}: not a readable ONNX model: {error}") from error


def _axes(values: Iterable[ValueInfoProto]) -> list[Axes]:
    return [
        Axes(one.name, [axis.dim_value or None for axis in one.type.tensor_type.shape.dim])
        for one in values
    ]
