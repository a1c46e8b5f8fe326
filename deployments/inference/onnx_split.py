"""Splits a RetinaFace ONNX file in two: the coarse pyramid levels, and the finest one.

The second part, of the finest level, need not always run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, shape_inference

from deployments.errors import InvalidWeights


@dataclass(frozen=True, slots=True)
class SplitGraph:
    """The two ONNX files made of one.

    outputs: number of the network's outputs. `first` gives them without the finest level, followed
    by the features from which `second` computes that level.
    """

    first: bytes
    second: bytes
    outputs: int


def split_at_concatenation(content: bytes, *, where: str) -> SplitGraph:
    """Split a network whose every output is a concatenation of several tensors.

    The second part computes the first tensor of each concatenation, the first part all the others.
    Raises InvalidWeights if an output is not such a concatenation.
    """
    model = shape_inference.infer_shapes(onnx.load_from_string(content))
    graph = model.graph
    tails = [_tail(graph, output.name, where) for output in graph.output]
    others = _ancestors(graph, [name for tail in tails for name in tail[0].input[1:]])
    computed = {name for node in others for name in node.output}
    later = [
        node
        for node in _ancestors(graph, [tail[0].input[0] for tail in tails])
        if node.output[0] not in computed
    ]
    wanted = {name for node in later for name in node.input}
    features = [_value(graph, name, where) for name in sorted(wanted & computed)]
    outputs = list(graph.output)
    return SplitGraph(
        _file(model, [*others, *_ends(tails, slice(1, None))], graph.input, [*outputs, *features]),
        _file(model, [*later, *_ends(tails, slice(1))], features, outputs),
        len(outputs),
    )


def _tail(graph: GraphProto, output: str, where: str) -> list[NodeProto]:
    """The nodes from the last concatenation of several tensors to the output, in order."""
    producers = {name: node for node in graph.node for name in node.output}
    tail: list[NodeProto] = []
    name = output
    while name in producers:
        tail.insert(0, producers[name])
        if tail[0].op_type == "Concat" and tail[0].attribute[0].i == 1 and len(tail[0].input) > 1:
            return tail
        name = tail[0].input[0]
    raise InvalidWeights(f"{where}: output {output!r} is not concatenated of several levels")


def _ancestors(graph: GraphProto, names: Sequence[str]) -> list[NodeProto]:
    """The nodes that compute the named tensors, in the graph's order."""
    needed = set(names)
    found: list[NodeProto] = []
    for node in reversed(graph.node):  # ONNX stores nodes in topological order
        if needed.intersection(node.output):
            found.insert(0, node)
            needed.update(node.input)
    return found


def _ends(tails: Sequence[Sequence[NodeProto]], which: slice) -> list[NodeProto]:
    """Copies of the tails that concatenate only this slice of the tensors."""
    nodes = []
    for concatenation, *rest in tails:
        some = NodeProto()
        some.CopyFrom(concatenation)
        some.ClearField("input")
        some.input.extend(concatenation.input[which])
        nodes += [some, *rest]
    return nodes


def _value(graph: GraphProto, name: str, where: str) -> ValueInfoProto:
    """The type and shape of an inner tensor, as `infer_shapes` found them."""
    known: dict[str, ValueInfoProto] = {value.name: value for value in graph.value_info}
    if name in known:
        return known[name]
    raise InvalidWeights(f"{where}: the shape of {name!r} cannot be told")


def _file(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
) -> bytes:
    used = {name for node in nodes for name in node.input}
    weights = [item for item in model.graph.initializer if item.name in used]
    free = [_with_free_sizes(output) for output in outputs]
    graph = helper.make_graph(nodes, model.graph.name or "part", inputs, free, weights)
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(part.SerializeToString())


def _with_free_sizes(value: ValueInfoProto) -> ValueInfoProto:
    """The value with free axes: a part's output may be shorter than the network's."""
    tensor = value.type.tensor_type
    return helper.make_tensor_value_info(
        value.name, tensor.elem_type, [None] * len(tensor.shape.dim)
    )
