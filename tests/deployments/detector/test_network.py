import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from configs.catalogue import CATALOGUE
from deployments.detector.network import Body, RetinaFace
from deployments.errors import InvalidWeights
from deployments.weights.checkpoints import load_strictly
from deployments.weights.find import find_weights
from tests.support import parity
from tests.support.onnx_answers import onnx_answers

TOLERANCE = 1e-4
FREE_AXES = {0: "batch", 2: "height", 3: "width"}


@pytest.fixture(scope="module")
def mobilenet() -> RetinaFace:
    return loaded("mobilenet025", parity.entries_for(RetinaFace("mobilenet025")))


def loaded(body: Body, entries: dict[str, Tensor]) -> RetinaFace:
    network = RetinaFace(body)
    load_strictly(network, entries=entries, source="stand-in")
    return network.eval()


def test_entries_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        network = RetinaFace("resnet50")
    assert parity.shapes_of(network) == parity.published_shapes("retinaface_r50")


@torch.inference_mode()
def test_an_exported_network_takes_any_batch_height_and_width(mobilenet: RetinaFace) -> None:
    scene = parity.scene()
    inputs = [scene.repeat(3, 1, 1, 1), scene[:, :, :200, :136], scene[:, :, :33, :47]]
    exported = onnx_answers(
        mobilenet,
        output_names=mobilenet.output_names,
        example=torch.zeros(1, 3, 64, 96),
        free_axes=FREE_AXES,
        inputs=inputs,
    )
    for images, answers in zip(inputs, exported, strict=True):
        for name, answer in zip(mobilenet.output_names, mobilenet(images), strict=True):
            np.testing.assert_allclose(answers[name], answer.numpy(), rtol=0, atol=TOLERANCE)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("height", "width", "cells"),
    [
        (64, 96, 8 * 12 + 4 * 6 + 2 * 3),
        (33, 47, 5 * 6 + 3 * 3 + 2 * 2),  # sizes are rounded up
        (8, 8, 1 + 1 + 1),
    ],
)
def test_every_cell_of_every_stride_answers_for_two_anchors(
    mobilenet: RetinaFace, height: int, width: int, cells: int
) -> None:
    loc, conf, landmarks = mobilenet(torch.zeros(2, 3, height, width))
    assert loc.shape == (2, 2 * cells, 4)
    assert conf.shape == (2, 2 * cells, 2)
    assert landmarks.shape == (2, 2 * cells, 10)


@torch.inference_mode()
def test_probabilities_of_background_and_face_sum_to_one(mobilenet: RetinaFace) -> None:
    _, conf, _ = mobilenet(parity.scene())
    torch.testing.assert_close(conf.sum(dim=-1), torch.ones(1, 3360))


@torch.inference_mode()
def test_the_mobilenet_answers_as_its_published_export() -> None:
    weights = find_weights(CATALOGUE["retinaface-mnet025"], None).content
    network = loaded("mobilenet025", unfolded_entries(onnx.load_from_string(weights).graph))
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    scene = parity.scene()
    for answer, published in zip(
        network(scene), session.run(None, {"input": scene.numpy()}), strict=True
    ):
        np.testing.assert_allclose(answer.numpy(), published, rtol=0, atol=TOLERANCE)


def unfolded_entries(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Checkpoint entries of an export, with BatchNorms that change nothing.

    The export has folded its BatchNorms into the convolutions.
    """
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    tensors |= {
        node.output[0]: tensors[node.input[0]] for node in graph.node if node.op_type == "Identity"
    }
    entries: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, bias = (torch.from_numpy(tensors[name].copy()) for name in node.input[1:3])
            entries |= unfolded_convolution(published_name(node.name), weight, bias)
    return entries


def published_name(node: str) -> str:
    """Entry name of an ONNX node.

    That of `/fx/stage1/stage1.1/stage1.1.1/stage1.1.1.0/Conv` is `body.stage1.1.3`.
    """
    first, *_, last, _ = node.strip("/").split("/")
    heads = {"class_head": "ClassHead", "bbox_head": "BboxHead", "landmark_head": "LandmarkHead"}
    if first in heads:
        return f"{heads[first]}.{last.split('.')[1]}.conv1x1"
    if first != "fx":
        return f"{first}.{last.removesuffix('_1')}"
    path = last.split(".")
    if len(path) == 4:  # depthwise and pointwise halves are nested there, and flat in the entries
        path[2:] = [str(3 * int(path[2]))]
    return ".".join(["body", *path])


def unfolded_convolution(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    if name.endswith("conv1x1"):
        return {f"{name}.weight": weight, f"{name}.bias": bias}
    parent, index = name.rsplit(".", 1)
    norm = f"{parent}.{int(index) + 1}"
    epsilon = torch.nn.BatchNorm2d(1).eps
    return {
        f"{name}.weight": weight,
        f"{norm}.weight": torch.ones_like(bias),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": torch.full_like(bias, 1 - epsilon),
    }


def test_weights_of_the_other_body_are_refused_by_the_first_name() -> None:
    network = RetinaFace("mobilenet025")
    entries = parity.entries_for(network)
    with pytest.raises(InvalidWeights, match=r"a\.pt does not fit RetinaFace.*'body\.conv1\.weigh"):
        load_strictly(RetinaFace("resnet50"), entries=entries, source="a.pt")
    entries["fpn.output1.0.weight"] = torch.zeros(256, 64, 1, 1)
    with pytest.raises(InvalidWeights, match=r"'fpn\.output1\.0.*\[256, 64, 1, 1\].*\[64, 64, 1"):
        load_strictly(network, entries=entries, source="a.pt")
