"""A network split in two gives the outputs of the whole."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from configs.catalogue import CATALOGUE
from deployments.detector.network import RetinaFace
from deployments.errors import InvalidWeights
from deployments.inference.backend import joined
from deployments.inference.onnx_export import export_onnx
from deployments.inference.onnx_split import split_at_concatenation
from deployments.weights.find import find_weights
from tests.support.parity import entries_for


def default_detector() -> bytes:
    content = find_weights(CATALOGUE["retinaface-mnet025"], None).literal
    assert content is not None
    return content


def exported_detector() -> bytes:
    module = RetinaFace("resnet50").eval()
    module.load_state_dict(entries_for(module))
    axes = {0: "batch", 2: "height", 3: "width"}
    return export_onnx(module, example=torch.zeros(1, 3, 64, 96), free_axes=axes)


def run(content: bytes, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named = dict(zip([item.name for item in session.get_inputs()], inputs, strict=True))
    answers: list[np.ndarray] = session.run(None, named)
    return answers


@pytest.mark.parametrize("content", [default_detector(), exported_detector()], ids=["mnet", "r50"])
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 75, 110)])
def test_both_parts_together_give_the_outputs_of_the_whole(
    content: bytes, shape: tuple[int, int, int, int]
) -> None:
    planes = np.random.RandomState(0).randn(*shape).astype(np.float32) * 50
    graph = split_at_concatenation(content, where="a file")
    first = run(graph.first, planes)
    second = run(graph.second, *first[graph.outputs :])
    parts = joined(second, first[: graph.outputs])
    for part, whole in zip(parts, run(content, planes), strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-5, rtol=1e-5)


def test_the_parts_share_no_weights() -> None:
    content = default_detector()
    graph = split_at_concatenation(content, where="a file")
    assert len(graph.first) + len(graph.second) < 1.02 * len(content)


def test_a_network_whose_output_is_no_concatenation_is_refused_by_name() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"
    ]
    graph = onnx.helper.make_graph([node], "plain", values[:1], values[1:])
    content = onnx.helper.make_model(graph).SerializeToString()
    with pytest.raises(InvalidWeights, match="a file: output 'y' is not concatenated"):
        split_at_concatenation(content, where="a file")
