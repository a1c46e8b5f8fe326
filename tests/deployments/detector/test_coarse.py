"""Coarse to fine: a small look at the photo and a view of its largest face, and when not."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections, FaceChoice, FloatArray
from deployments.detector import Detector, load_detector
from deployments.detector.candidates import group_means
from deployments.detector.coarse import largest_face
from deployments.detector.detector import DetectionRequest, FirstPass
from deployments.detector.postprocess import Rows, choose, count_alike, overlap
from deployments.detector.preprocess import PAD_COLOUR, VIEW, VIEWED_FACE, NetworkInput, face_view
from deployments.images.alignment import align
from deployments.images.decode import DecodedImage
from deployments.images.template import TEMPLATE
from deployments.recognizer import load_recognizer
from tests.support.photos import GDP, YAOMING, photo

COARSE = 160
CONFIG = DetectorConfig()


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The detector of serve_config.yaml."""
    return load_detector(max_side=640)


@pytest.fixture(scope="module")
def whole(detector: Detector) -> Detector:
    config = DetectorConfig(coarse_side=None)
    return Detector(config, model=detector.model, backend=detector.backend)


def portrait(side: int) -> ByteArray:
    pixels = photo(YAOMING)
    scale = side / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(
        np.uint8
    )


def first_pass(detector: Detector, pixels: ByteArray, faces: FaceChoice = "largest") -> FirstPass:
    [first] = detector.detect_first_pass([DetectionRequest(DecodedImage.whole(pixels), faces)])
    return first


def faces_of(detector: Detector, pixels: ByteArray) -> Detections:
    request = DetectionRequest(DecodedImage.whole(pixels), "largest")
    [first] = detector.detect_first_pass([request])
    return detector.detect_further(request, first)


def side_by_side(size: float) -> ByteArray:
    """Two portraits; the second is scaled by `size`."""
    left, right = portrait(600), portrait(round(600 * size))
    canvas = np.full((600, left.shape[1] + right.shape[1], 3), 110, np.uint8)
    canvas[:, : left.shape[1]] = left
    canvas[: len(right), left.shape[1] :] = right
    return canvas


def test_a_portraits_face_is_found_where_a_whole_look_finds_it(
    detector: Detector, whole: Detector
) -> None:
    pixels = portrait(640)
    found, expected = first_pass(detector, pixels), first_pass(whole, pixels)
    assert (found.side, expected.side) == (COARSE, 640)
    assert found.final
    assert overlap(found.faces.boxes[0], expected.faces.boxes[0]) > 0.85
    [box] = expected.faces.boxes
    size = np.sqrt((box[2:] - box[:2]).prod())
    assert np.abs(found.faces.landmarks - expected.faces.landmarks).max() < 0.05 * size


def test_photos_of_all_sizes_give_one_embedding(detector: Detector) -> None:
    recognizer = load_recognizer(runtime="onnxruntime")
    vectors = []
    for side in (2000, 1300, 640, 400, 330):
        pixels = portrait(side)
        first = first_pass(detector, pixels)
        assert first.side == COARSE
        vectors.append(recognizer.embed(align(pixels, first.faces.landmarks)).vectors[0])
    assert np.asarray(vectors[1:]) @ vectors[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("case", ["group", "like faces", "turned", "no face"])
def test_in_doubt_the_whole_photo_is_looked_at(
    detector: Detector, whole: Detector, case: str
) -> None:
    pixels = {
        "group": photo(GDP),
        "like faces": side_by_side(0.85),
        "turned": np.ascontiguousarray(np.rot90(portrait(640))),
        "no face": np.full((480, 640, 3), 90, np.uint8),
    }[case]
    assert first_pass(detector, pixels).side > COARSE
    found, expected = faces_of(detector, pixels), faces_of(whole, pixels)
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_a_clearly_smaller_face_beside_the_largest_is_no_doubt(
    detector: Detector, whole: Detector
) -> None:
    pixels = side_by_side(0.25)
    assert first_pass(detector, pixels).side == COARSE
    found, expected = faces_of(detector, pixels), faces_of(whole, pixels)
    assert count_alike(found, CONFIG.like_size) == count_alike(expected, CONFIG.like_size) == 1
    largest = choose(expected, "largest")
    assert overlap(choose(found, "largest").boxes[0], largest.boxes[0]) > 0.85


def test_all_faces_and_small_photos_have_no_coarse_look(detector: Detector) -> None:
    assert first_pass(detector, portrait(640), "all").side == 640
    assert first_pass(detector, portrait(2 * COARSE - 1)).side == 2 * COARSE - 1
    assert DetectorConfig(preset="published").coarse_side is None


def test_photos_with_and_without_a_coarse_look_are_answered_in_order(detector: Detector) -> None:
    photos = [photo(GDP), portrait(640), portrait(200), portrait(640)]
    requests = [DetectionRequest(DecodedImage.whole(pixels), "largest") for pixels in photos]
    together = detector.detect_first_pass(requests)
    for found, pixels in zip(together, photos, strict=True):
        alone = first_pass(detector, pixels)
        assert found.side == alone.side
        np.testing.assert_allclose(found.faces.boxes, alone.faces.boxes, atol=0.01)


def test_the_smallest_face_searched_for_is_that_of_the_coarse_look(detector: Detector) -> None:
    request = DetectionRequest(DecodedImage.whole(portrait(640)), "largest")
    [first] = detector.detect_first_pass([request])
    assert detector.searched_down_to_px(request, first.side) == 24 * 640 / COARSE


Box = tuple[float, float, float, float]


def rows_of(boxes: Sequence[Box], scores: Sequence[float], *, roll: float = 0) -> Rows:
    """Faces on the template's landmarks, turned by degrees and stretched over each box."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    sine, cosine = np.sin(np.radians(roll)), np.cos(np.radians(roll))
    points = (TEMPLATE / 112 - 0.5) @ np.asarray([[cosine, sine], [-sine, cosine]]) + 0.5
    sides = corners[:, None, 2:] - corners[:, None, :2]
    landmarks = (corners[:, None, :2] + sides * points).astype(np.float32)
    return Rows(corners, np.asarray(scores, np.float32), landmarks, CONFIG)


FACE: Box = (40, 40, 80, 80)  # in the coarse look; 160 to 320 in the photo
VIEWED: Box = (32, 32, 160, 160)


def looked(
    coarse: Rows, view: Rows | None = None, *, blurred: bool = False
) -> Detections | str | None:
    """The result for a photo of 640 x 640 pixels; `view` if a view is wanted and none is given."""
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3)).astype(np.uint8)
    image = DecodedImage.whole(cv2.blur(noise, (60, 60)).astype(np.uint8) if blurred else noise)
    looks = largest_face(image, NetworkInput(image.pixels, 1, 1), COARSE, CONFIG)
    assert next(looks).pixels.shape == (COARSE, COARSE, 3)
    try:
        assert looks.send(coarse).pixels.shape == (VIEW, VIEW, 3)
        if view is None:
            return "view"
        looks.send(view)
    except StopIteration as last:
        result: Detections | None = last.value
        return result
    raise AssertionError("a third look")


def test_a_sure_face_is_viewed_and_answered_in_pixels_of_the_photo() -> None:
    found = looked(rows_of([FACE], [0.9]), rows_of([VIEWED], [0.95]))
    assert isinstance(found, Detections)
    assert found.boxes[0] == pytest.approx((160, 160, 320, 320), abs=1)
    assert found.scores == pytest.approx([0.95])


@pytest.mark.parametrize(
    "rows",
    [
        rows_of([], []),
        rows_of([FACE], [0.79]),  # not surely a face
        rows_of([(40, 40, 71, 71)], [0.9]),  # a like face might be too small to be seen
        rows_of([FACE, (100, 40, 125, 65)], [0.9, 0.15]),  # a weak candidate of about its size
        rows_of([FACE, (0, 0, 100, 160)], [0.9, 0.6]),  # a larger, less sure one
        rows_of([FACE, (100, 40, 121, 61)], [0.9, 0.03]),  # perhaps a turned face of its size
        rows_of([FACE], [0.9], roll=20),
        rows_of([FACE], [0.9], roll=90),
    ],
)
def test_a_doubtful_coarse_look_wants_no_view(rows: Rows) -> None:
    assert looked(rows) is None


def test_small_candidates_beside_the_face_are_no_doubt() -> None:
    assert looked(rows_of([FACE, (100, 40, 115, 55)], [0.9, 0.9])) == "view"


def test_weak_rows_of_the_face_itself_are_no_doubt() -> None:
    assert looked(rows_of([FACE, (45, 45, 85, 85)], [0.9, 0.03])) == "view"


@pytest.mark.parametrize(
    "view",
    [
        rows_of([], []),
        rows_of([(0, 0, 80, 80)], [0.95]),  # another place or size
        rows_of([VIEWED], [0.6]),
        rows_of([VIEWED], [0.95], roll=20),
        rows_of([VIEWED, (0, 0, 110, 190)], [0.95, 0.3]),
    ],
)
def test_a_view_must_show_the_same_face_upright_and_no_other(view: Rows) -> None:
    assert looked(rows_of([FACE], [0.9]), view) is None


def test_a_blurred_face_is_looked_at_in_the_whole_photo() -> None:
    assert looked(rows_of([FACE], [0.9]), rows_of([VIEWED], [0.95]), blurred=True) is None


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("corner", [(300, 200), (0, 0), (560, 420)])
def test_a_view_has_its_face_at_one_size_and_nothing_beside_the_photo(
    corner: tuple[int, int], reduction: int
) -> None:
    pixels = np.full((480 // reduction, 640 // reduction, 3), 50, np.uint8)
    left, top = (side // reduction for side in corner)
    pixels[top : top + 60 // reduction, left : left + 80 // reduction] = 200
    image = DecodedImage(pixels, 640, 480, reduction)
    box = np.asarray([*corner, corner[0] + 80, corner[1] + 60], np.float32)
    item = face_view(image, box)
    assert item.pixels.shape == (VIEW, VIEW, 3)
    shown = np.argwhere((item.pixels > 125).all(axis=2))[:, ::-1]
    found = np.concatenate([shown.min(axis=0), shown.max(axis=0) + 1]).astype(np.float32)
    assert np.sqrt((found[2:] - found[:2]).prod()) == pytest.approx(VIEWED_FACE, abs=4)
    faces = Detections(found[None], np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    assert item.to_photo(faces).boxes[0] == pytest.approx(box, abs=2.5)
    empty = (item.pixels == PAD_COLOUR).all(axis=2).mean()
    assert (empty > 0.1) == (corner != (300, 200))


def test_means_are_weighted_by_scores() -> None:
    scores = np.asarray([0.9, 0.3, 0.5], np.float32)
    values: FloatArray = np.asarray([[0, 4], [4, 0], [7, 7]], np.float32)
    groups = [np.asarray([0, 1], np.intp), np.asarray([2], np.intp)]
    assert group_means(groups, scores, values).tolist() == pytest.approx(
        np.asarray([[1, 3], [7, 7]])
    )
    assert group_means([], scores, values).shape == (0, 2)
