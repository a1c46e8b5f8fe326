"""SCRFD: the same faces as InsightFace's own pipeline finds, from files of every layout."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from configs.catalogue import CATALOGUE, Model
from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections
from deployments.detector.crops import cut_crops
from deployments.detector.detector import Detector, detector_from
from deployments.errors import InvalidConfig, InvalidWeights, ModelUnavailable
from deployments.images.alignment import align_crops
from deployments.images.decode import DecodedImage
from deployments.recognizer.recognizer import load_recognizer
from graph.bundled import PHOTOS
from tests.support.photos import photo_path

FILE = photo_path("scrfd_500m_bnkps.onnx")  # beside the photos


def photo(name: str) -> ByteArray:
    pixels = cv2.imread(str(photo_path(name)))
    assert pixels is not None
    return pixels.astype(np.uint8, copy=False)


@cache
def detector() -> Detector:
    return detector_from(DetectorConfig(model="scrfd-500m"))


def own(path: Path) -> DetectorConfig:
    """The configuration of a detector of one's own file."""
    model = CATALOGUE["scrfd-500m"].model_dump() | {
        "id": "own",
        "weights_file": str(path),
        "package": None,
    }
    return DetectorConfig(own_models={"own": Model.model_validate(model)}, model="own")


def saved(model: ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


def without_batch_axis(model: ModelProto) -> ModelProto:
    """The file with outputs [A,K] in place of [B,A,K], as InsightFace's packs have them."""
    for output in list(model.graph.output):
        name, size = output.name, output.type.tensor_type.shape.dim[2].dim_value
        for node in model.graph.node:
            node.output[:] = [f"{name}_3" if given == name else given for given in node.output]
        model.graph.node.append(helper.make_node("Reshape", [f"{name}_3", f"{name}_shape"], [name]))
        model.graph.initializer.append(
            helper.make_tensor(f"{name}_shape", onnx.TensorProto.INT64, [2], [-1, size])
        )
        del output.type.tensor_type.shape.dim[0]
    return model


def of_size(model: ModelProto, height: int, width: int) -> ModelProto:
    """The file with an input of one size."""
    axes = model.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(axes, (1, 3, height, width), strict=True):
        axis.dim_value = size
    return model


def without_key_points(model: ModelProto) -> ModelProto:
    del model.graph.output[6:]
    return model


def assert_near(found: Detections, expected: Detections, *, px: float) -> None:
    assert len(found) == len(expected)
    assert np.abs(found.boxes - expected.boxes).max() <= px
    assert np.abs(found.landmarks - expected.landmarks).max() <= px


@pytest.mark.parametrize("name", PHOTOS)
def test_faces_and_embeddings_are_those_of_insightface(name: str) -> None:
    scrfd = pytest.importorskip("insightface.model_zoo.scrfd")
    face_align = pytest.importorskip("insightface.utils.face_align")
    theirs = scrfd.SCRFD(str(FILE))
    theirs.prepare(-1, input_size=(640, 640), det_thresh=0.5, nms_thresh=0.4)
    image = photo(name)
    boxes, points = theirs.detect(image)
    found = detector().detect(image)
    assert_near(found, Detections(boxes[:, :4], boxes[:, 4], points), px=1)
    recognizer = load_recognizer()
    chips = align_crops(cut_crops(DecodedImage.whole(image), found.landmarks), found.landmarks)
    with pytest.warns(FutureWarning):
        expected = np.stack([face_align.norm_crop(image, face) for face in points])
    cosines = (recognizer.embed(chips).vectors * recognizer.embed(expected).vectors).sum(axis=1)
    assert cosines.min() >= 0.999


def test_outputs_without_a_batch_axis_give_the_same_faces(tmp_path: Path) -> None:
    path = saved(without_batch_axis(onnx.load(str(FILE))), tmp_path / "flat.onnx")
    images = [photo(name) for name in PHOTOS[:2]]
    found = detector_from(own(path)).detect_many(images)
    for one, expected in zip(found, detector().detect_many(images), strict=True):
        assert_near(one, expected, px=0.01)


def test_a_file_of_one_size_takes_every_photo(tmp_path: Path) -> None:
    path = saved(of_size(onnx.load(str(FILE)), 640, 640), tmp_path / "fixed.onnx")
    fixed = detector_from(own(path))
    for name in PHOTOS:
        assert_near(fixed.detect(photo(name)), detector().detect(photo(name)), px=0.01)
    small = saved(of_size(onnx.load(str(FILE)), 320, 256), tmp_path / "small.onnx")
    found = detector_from(own(small)).detect(photo(PHOTOS[0]))
    assert_near(found, detector().detect(photo(PHOTOS[0])), px=6)


def test_a_file_without_key_points_finds_boxes_and_says_so(tmp_path: Path) -> None:
    path = saved(without_key_points(onnx.load(str(FILE))), tmp_path / "boxes.onnx")
    boxes_only = detector_from(own(path))
    found, expected = (one.detect(photo(PHOTOS[1])) for one in (boxes_only, detector()))
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.isnan(found.landmarks).all()
    with pytest.raises(InvalidConfig, match="own finds no landmarks, which recognition needs"):
        boxes_only.require_landmarks()
    detector().require_landmarks()


def test_files_of_another_network_are_refused_by_their_outputs(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="6, 9, 10 or 15 outputs: 1 inputs and 1 outputs"):
        detector_from(own(photo_path("w600k_mbf.onnx")))
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidWeights, match="not a readable ONNX model"):
        detector_from(own(tmp_path / "damaged.onnx"))
    with pytest.raises(ModelUnavailable, match=r"own: no .*gone.onnx"):
        detector_from(own(tmp_path / "gone.onnx"))


def test_the_settings_of_insightface_are_the_familys_own() -> None:
    config = DetectorConfig(model="scrfd-500m")
    assert (config.preset, config.turned_faces, config.coarse_side) == ("insightface", False, None)
    assert DetectorConfig(model="scrfd-500m", turned_faces=True).turned_faces
    assert DetectorConfig().preset is None
