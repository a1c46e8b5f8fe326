"""Faces at any roll: found, and embedded as the upright face is."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector import Detector, load_detector
from deployments.detector.candidates import Candidates
from deployments.detector.detector import DetectionRequest
from deployments.detector.postprocess import choose, count_alike, merged, supported
from deployments.detector.turns import (
    points_from_view,
    quarter_turned,
    turned_back,
    upright_view,
)
from deployments.detector.upright import UprightViews
from deployments.images.alignment import align
from deployments.images.decode import DecodedImage
from deployments.images.template import TEMPLATE, rolls
from deployments.recognizer import Recognizer, load_recognizer
from tests.support.photos import GDP, YAOMING, photo


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(max_side=640)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load_recognizer(runtime="onnxruntime")


@pytest.fixture(scope="module")
def portrait() -> ByteArray:
    """Enlarged three times, so that turning by odd angles costs no detail."""
    pixels = photo(YAOMING)
    return cv2.resize(pixels, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def turned(pixels: ByteArray, degrees: int) -> ByteArray:
    """The photo turned clockwise, on a canvas that holds all of it."""
    if degrees % 90 == 0:
        return quarter_turned(pixels, -degrees // 90)
    height, width = pixels.shape[:2]
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    cosine, sine = np.abs(transform[0])[:2]
    size = int(height * sine + width * cosine), int(height * cosine + width * sine)
    transform[:, 2] = transform[:, 2] + (np.asarray(size) - (width, height)) / 2
    return cv2.warpAffine(pixels, transform, size, borderValue=(110, 110, 110)).astype(np.uint8)


def largest(detector: Detector, pixels: ByteArray) -> Detections:
    request = DetectionRequest(DecodedImage.whole(pixels), "largest")
    [first] = detector.detect_first_pass([request])
    return choose(detector.detect_further(request, first), "largest")


def embedding(recognizer: Recognizer, pixels: ByteArray, faces: Detections) -> FloatArray:
    vector: FloatArray = recognizer.embed(align(pixels, faces.landmarks)).vectors[0]
    return vector


@pytest.mark.parametrize("degrees", range(15, 360, 15))
def test_a_turned_face_gives_the_embedding_of_the_upright_one(
    detector: Detector, recognizer: Recognizer, portrait: ByteArray, degrees: int
) -> None:
    upright = largest(detector, portrait)
    pixels = turned(portrait, degrees)
    faces = largest(detector, pixels)
    cosine = embedding(recognizer, pixels, faces) @ embedding(recognizer, portrait, upright)
    assert cosine >= 0.95
    [roll], [own] = rolls(faces.landmarks), rolls(upright.landmarks)
    assert abs((roll - own - degrees + 180) % 360 - 180) < 6


def test_an_upright_portrait_costs_one_pass(detector: Detector) -> None:
    for faces in "largest", "all":
        request = DetectionRequest(DecodedImage.whole(photo(YAOMING)), faces)
        assert detector.detect_first_pass([request])[0].final


def test_without_turned_faces_the_landmarks_are_those_of_an_upright_face(
    detector: Detector, portrait: ByteArray
) -> None:
    config = DetectorConfig(turned_faces=False)
    plain = Detector(config, model=detector.model, backend=detector.backend)
    [roll] = rolls(largest(plain, turned(portrait, 180)).landmarks)
    assert abs(roll) < 45


def test_upright_and_turned_faces_of_one_photo_are_all_found(
    detector: Detector, portrait: ByteArray
) -> None:
    side = max(portrait.shape[:2])
    canvas = np.full((side, 3 * side, 3), 110, np.uint8)
    for index, degrees in enumerate((0, 90, 180)):
        pixels = turned(portrait, degrees)
        height, width = pixels.shape[:2]
        canvas[:height, index * side : index * side + width] = pixels
    found = detector.detect(canvas)
    in_order = np.argsort(found.boxes[:, 0])
    assert len(found) == 3
    assert np.abs((rolls(found.landmarks[in_order]) - (0, 90, 180) + 180) % 360 - 180).max() < 6


def test_faces_of_an_upright_group_keep_the_first_views_landmarks(detector: Detector) -> None:
    config = DetectorConfig(turned_faces=False)
    plain = Detector(config, model=detector.model, backend=detector.backend)
    found, expected = detector.detect(photo(GDP)), plain.detect(photo(GDP))
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)


def candidates(
    boxes: Sequence[tuple[float, float, float, float]],
    scores: Sequence[float],
    spread: Sequence[float],
) -> Candidates:
    """Upright faces on the template's landmarks, stretched over each box."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    sides = corners[:, None, 2:] - corners[:, None, :2]
    landmarks = (corners[:, None, :2] + sides * TEMPLATE / 112).astype(np.float32)
    found = Detections(corners, np.asarray(scores, np.float32), landmarks)
    return Candidates(found, np.asarray(spread, np.float32))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_surroundings_of_a_faint_candidate_show_whether_it_is_a_turned_face(
    detector: Detector, portrait: ByteArray, degrees: int
) -> None:
    pixels = cv2.resize(turned(portrait, degrees), None, fx=0.5, fy=0.5).astype(np.uint8)
    box = tuple(largest(detector, pixels).boxes[0].tolist())
    views = UprightViews(detector._candidates_in, detector.config.score_threshold)
    faint = candidates([box], [0.3], [0.0])
    assert views.shows_one(faint, pixels)
    assert not views.shows_one(faint, np.full_like(pixels, 110))


LARGE, OTHER, SMALL = (0, 0, 100, 100), (300, 0, 380, 80), (500, 0, 520, 20)


def test_a_candidate_may_be_turned_if_landmarks_spread_or_the_score_is_low() -> None:
    found = candidates([LARGE, LARGE, LARGE, SMALL], [0.9, 0.9, 0.3, 0.3], [0.02, 0.05, 0, 0.2])
    assert found.turned(0.5).tolist() == [False, True, True, False]


def test_the_more_upright_of_two_views_stays() -> None:
    first = candidates([LARGE], [0.99], [0.08])
    second = candidates([(5, 0, 105, 100), OTHER], [0.9, 0.8], [0.01, 0.01])
    found = merged([first, second], score_threshold=0.5)
    assert found.detections.boxes.tolist() == [[5, 0, 105, 100], list(OTHER)]


def test_a_face_that_is_upright_in_the_first_view_stays() -> None:
    first = candidates([LARGE], [0.6], [0.03])
    second = candidates([(5, 0, 105, 100)], [0.99], [0.001])
    found = merged([first, second], score_threshold=0.5)
    assert found.detections.boxes.tolist() == [list(LARGE)]


def test_overlapping_faces_of_one_view_both_stay() -> None:
    found = merged(
        [candidates([LARGE, (40, 0, 140, 100)], [0.9, 0.8], [0.01] * 2)], score_threshold=0.5
    )
    assert len(found) == 2


def test_a_face_that_no_other_view_shows_is_not_supported() -> None:
    view = candidates([LARGE, OTHER], [0.9, 0.9], [0.01, 0.01])
    others = [candidates([(10, 10, 90, 90)], [0.2], [0.1]), Candidates.none()]
    assert supported(view, others).detections.boxes.tolist() == [list(LARGE)]


@pytest.mark.parametrize("turns", range(4))
def test_points_of_a_quarter_turned_input_come_back(turns: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[7, 11] = 255
    [[y, x]] = np.argwhere(quarter_turned(pixels, turns)[..., 0])
    point = np.full((1, 5, 2), (x, y), np.float32)
    box = np.asarray([[x, y, x, y]], np.float32)
    seen = Candidates(Detections(box, np.ones(1, np.float32), point), np.zeros(1, np.float32))
    found = turned_back(seen, turns, height=40, width=60).detections
    assert found.landmarks[0, 0].tolist() == [11, 7]
    assert found.boxes[0].tolist() == [11, 7, 11, 7]


def test_points_of_an_upright_view_come_back() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(pixels, (120, 80), 3, (255, 255, 255), -1)
    view, transform = upright_view(pixels, centre=np.asarray([110, 90]), size=60, roll=35)
    [y, x] = np.argwhere(view[..., 0] > 200).mean(axis=0)
    back = points_from_view(np.asarray([[x, y]], np.float32), transform)
    assert back[0] == pytest.approx([120, 80], abs=0.5)


def test_like_faces_are_counted() -> None:
    found = candidates([LARGE, OTHER, SMALL], [0.9] * 3, [0] * 3).detections
    assert count_alike(found, 0.75) == 2
    assert count_alike(found, 0.85) == 1
    assert count_alike(Detections.none(), 0.75) == 1
