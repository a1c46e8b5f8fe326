"""First pass for the largest face only: fine anchors are skipped when they cannot matter."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FloatArray
from deployments.detector.detector import DetectionRequest, Detector, detector_from
from deployments.detector.postprocess import choose
from deployments.images.decode import DecodedImage
from deployments.inference.backend import SplitBackend
from tests.support.photos import GDP, PLAYERS, YAOMING, photo


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return detector_from(DetectorConfig(runtime=request.param, max_side=None, coarse_side=None))


class NeverRun:
    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        raise AssertionError("the fine anchors ran")


def coarse_only(detector: Detector) -> Detector:
    assert isinstance(detector.backend, SplitBackend)
    backend = replace(detector.backend, second=NeverRun())
    return Detector(detector.config, model=detector.model, backend=backend)


def sized(name: str, side: int) -> DecodedImage:
    pixels = photo(name)
    scale = side / max(pixels.shape[:2])
    return DecodedImage.whole(cv2.resize(pixels, None, fx=scale, fy=scale).astype(np.uint8))


def assert_same(found: Detections, expected: Detections) -> None:
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("name", [YAOMING, GDP, PLAYERS])
@pytest.mark.parametrize("side", [150, 400, 640, 1100])
def test_the_largest_face_is_that_of_a_pass_with_all_anchors(
    detector: Detector, name: str, side: int
) -> None:
    image = sized(name, side)
    both = detector.detect_first_pass(
        [DetectionRequest(image, "largest"), DetectionRequest(image, "all")]
    )
    assert_same(choose(both[0].faces, "largest"), choose(both[1].faces, "largest"))


def test_a_portrait_needs_no_fine_anchors(detector: Detector) -> None:
    found = coarse_only(detector).detect_first_pass(
        [DetectionRequest(sized(YAOMING, 640), "largest")]
    )
    assert len(found[0].faces) == 1


def test_small_faces_and_all_faces_need_the_fine_anchors(detector: Detector) -> None:
    for request in (
        DetectionRequest(sized(PLAYERS, 640), "largest"),
        DetectionRequest(sized(YAOMING, 640), "all"),
    ):
        with pytest.raises(AssertionError, match="anchors ran"):
            coarse_only(detector).detect_first_pass([request])


def test_fine_anchors_are_not_asked_where_no_face_matters_that_they_find(
    detector: Detector,
) -> None:
    """The players' faces have 8 pixels at this size."""
    item = detector.first_input(sized(PLAYERS, 160))
    without = coarse_only(detector)
    [rows] = without.look([replace(item, least_px=32)], ["largest"])
    assert not (rows.candidates.detections.scores > 0.5).any()
    with pytest.raises(AssertionError, match="anchors ran"):
        without.look([item], ["largest"])
    with pytest.raises(AssertionError, match="anchors ran"):
        without.look([replace(detector.first_input(sized(GDP, 320)), least_px=32)], ["largest"])


def test_a_batch_mixes_photos_that_need_them_and_photos_that_do_not(detector: Detector) -> None:
    portrait, crowd = sized(YAOMING, 640), sized(GDP, 640)
    size = (portrait.pixels.shape[1], portrait.pixels.shape[0])
    crowd = DecodedImage.whole(cv2.resize(crowd.pixels, size).astype(np.uint8))
    requests = [
        DetectionRequest(crowd, "largest"),
        DetectionRequest(portrait, "largest"),
        DetectionRequest(crowd, "all"),
    ]
    found = detector.detect_first_pass(requests)
    for request, faces in zip(requests, found, strict=True):
        [alone] = detector.detect_first_pass([request])
        assert_same(choose(faces.faces, "largest"), choose(alone.faces, "largest"))
