"""YuNet's decoder beside OpenCV's own, on a file of the published layout with known outputs."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from configs.catalogue import YUNET_PREPROCESSING, Model
from configs.detector import DetectorConfig
from deployments.detector.detector import detector_from
from deployments.detector.yunet import read_size
from deployments.errors import InvalidWeights
from tests.support.photos import GDP, PLAYERS, photo, photo_path

KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def stand_in(path: Path) -> Path:
    """A network of YuNet's layout: each output is a fixed mixture of the pixels around a cell.

    Its scores are sigmoids, so that some cells pass the threshold.
    """
    random = np.random.RandomState(3)
    nodes, weights, outputs = [], [], []
    for kind, count in KINDS.items():
        for stride in (8, 16, 32):
            name = f"{kind}_{stride}"
            spread = 0.05 if kind in ("cls", "obj") else 0.002
            filters = random.normal(0, spread / stride, (count, 3, stride, stride))
            weights.append(
                helper.make_tensor(f"w_{name}", TensorProto.FLOAT, filters.shape, filters.ravel())
            )
            weights.append(helper.make_tensor(f"s_{name}", TensorProto.INT64, [3], [1, -1, count]))
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"w_{name}"], [f"c_{name}"], strides=[stride] * 2
                ),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
            ]
            flat = f"r_{name}" if kind in ("cls", "obj") else name
            nodes.append(helper.make_node("Reshape", [f"t_{name}", f"s_{name}"], [flat]))
            if flat != name:
                nodes.append(helper.make_node("Sigmoid", [flat], [name]))
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "anchors", count])
            )
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 6
    onnx.save(model, str(path))
    return path


def own_config(file: Path, **fields: object) -> DetectorConfig:
    model = Model(
        id="own",
        kind="detector",
        family="yunet",
        title="YuNet",
        weights_file=str(file),
        preprocessing=YUNET_PREPROCESSING,
        licence="MIT",
    )
    return DetectorConfig.model_validate({"own_models": {"own": model}, "model": "own", **fields})


@pytest.mark.parametrize("name", [GDP, PLAYERS])
def test_boxes_landmarks_and_scores_are_opencvs(name: str, tmp_path: Path) -> None:
    file = stand_in(tmp_path / "yunet.onnx")
    image = photo(name)[:200, :300]
    height, width = image.shape[:2]
    opencv = cv2.FaceDetectorYN.create(str(file), "", (width, height), 0.6, 0.999, 5000)
    expected = opencv.detect(image)[1]
    config = own_config(file, score_threshold=0.6, nms_iou=0.999, max_faces=5000, drop_below_px=0)
    found = detector_from(config).detect(np.ascontiguousarray(image))
    assert len(found) == len(expected) > 3
    ours = np.concatenate(
        [
            found.boxes[:, :2],
            found.boxes[:, 2:] - found.boxes[:, :2],
            found.landmarks.reshape(-1, 10),
            found.scores[:, None],
        ],
        axis=1,
    )
    order = np.lexsort(np.round(ours[:, :2].T, 1)), np.lexsort(np.round(expected[:, :2].T, 1))
    np.testing.assert_allclose(ours[order[0]], expected[order[1]], atol=0.02)


def test_a_file_of_another_family_is_refused() -> None:
    scrfd = photo_path("scrfd_500m_bnkps.onnx")
    with pytest.raises(InvalidWeights, match="YuNet has one input and the outputs cls_8"):
        read_size(scrfd, where="own")
