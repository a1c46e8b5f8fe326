import numpy as np
import pytest

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FloatArray
from deployments.detector.anchors import anchors_for
from deployments.detector.postprocess import (
    Rows,
    choose,
    drop_small,
    non_maximum_suppression,
)
from tests.support import parity

SQUARE = (0, 0, 9, 9)  # 10 x 10 = 100 pixels, counted inclusively


def kept(boxes: list[tuple[float, float, float, float]], iou: float) -> list[int]:
    groups = non_maximum_suppression(np.asarray(boxes, np.float32).reshape(-1, 4), iou)
    assert all(group.dtype == np.intp for group in groups)
    return [int(group[0]) for group in groups]


@pytest.mark.parametrize(
    ("other", "iou", "expected"),
    [
        # 10 x 5 pixels inside: 50 / 100. Without the inclusive pixel it would be 36 / 81 = 0.44.
        ((0, 0, 9, 4), 0.49, [0]),
        ((0, 0, 9, 4), 0.5, [0, 1]),  # an overlap equal to the limit is kept
        # One column shared: 10 / 190 = 0.053; without the inclusive pixel it would be 0.
        ((9, 0, 18, 9), 0.05, [0]),
        ((9, 0, 18, 9), 0.06, [0, 1]),
        ((10, 0, 19, 9), 0.001, [0, 1]),  # side by side
        ((30, 30, 39, 39), 0.001, [0, 1]),  # apart on both axes: no product of negative lengths
        (SQUARE, 0.99, [0]),
    ],
)
def test_overlap_counts_pixels_inclusively(
    other: tuple[int, int, int, int], iou: float, expected: list[int]
) -> None:
    assert kept([SQUARE, other], iou) == expected


def test_a_suppressed_box_suppresses_nothing() -> None:
    # Each overlaps the next by 10 x 5 of 150 pixels, 1/3; the first and the last do not touch.
    assert kept([SQUARE, (0, 5, 9, 14), (0, 10, 9, 19)], 0.3) == [0, 2]


def test_the_better_box_stays_whichever_is_larger() -> None:
    assert kept([(0, 0, 9, 4), SQUARE, (50, 50, 59, 59)], 0.4) == [0, 2]


def test_no_boxes_and_one_box_are_kept_as_they_are() -> None:
    assert kept([], 0.4) == []
    assert kept([SQUARE], 0.4) == [0]


def test_the_published_detectors_suppression_is_repeated() -> None:
    answers = parity.answers()
    scores = answers["retinaface_r50.conf"][:, 1]
    boxes = answers["retinaface_r50.boxes_px"]
    candidates = np.flatnonzero(scores > answers["retinaface_r50.nms_threshold_score"])
    expected = answers["retinaface_r50.nms_keep"]
    best_first = candidates[np.argsort(-scores[candidates], kind="stable")]
    assert 0 < len(expected) < len(best_first)
    groups = non_maximum_suppression(boxes[best_first], 0.4)
    assert [best_first[group[0]] for group in groups] == expected.tolist()


def found_in(scores: list[float], **settings: float) -> Detections:
    """Faces of an 8 x 8 image whose six boxes are the anchors themselves.

    These are squares of 16 and 32 pixels around (4, 4), of 64 and 128 around (8, 8), of 256 and 512
    around (16, 16).
    """
    config = DetectorConfig.model_validate({"turned_faces": False, "coarse_side": None} | settings)
    loc, landmarks = np.zeros((6, 4), np.float32), np.zeros((6, 10), np.float32)
    rows = np.asarray(scores, np.float32)
    anchors = anchors_for(8, 8)
    chosen = Rows.chosen(loc, rows, landmarks, anchors=anchors, config=config)
    return chosen.candidates.detections


def sides(found: Detections) -> list[float]:
    widths: FloatArray = found.boxes[:, 2] - found.boxes[:, 0]
    return [float(width) for width in widths]


def test_faces_come_best_first_with_their_own_box_and_landmarks() -> None:
    found = found_in([0.6, 0, 0.9, 0, 0.7, 0])
    assert found.boxes.tolist() == [
        [-24, -24, 40, 40],
        [-112, -112, 144, 144],
        [-4, -4, 12, 12],
    ]
    assert found.scores.tolist() == np.asarray([0.9, 0.7, 0.6], np.float32).tolist()
    assert found.landmarks[:, 0].tolist() == [[8, 8], [16, 16], [4, 4]]


def test_a_face_must_score_over_the_threshold() -> None:
    assert sides(found_in([0.5, 0, 0.5001, 0, 0.25, 0], score_threshold=0.5)) == [64]


def test_equal_scores_keep_the_anchors_order() -> None:
    anchors = anchors_for(64, 64)
    count = len(anchors)
    scores, zeros = np.full(count, 0.7, np.float32), np.zeros((count, 10), np.float32)
    scores[1::2] = 0.8
    config = DetectorConfig(nms_iou=0.999)
    chosen = Rows.chosen(zeros[:, :4], scores, zeros, anchors=anchors, config=config)
    found = chosen.candidates.detections
    expected = np.concatenate([anchors[1::2], anchors[::2]])
    assert found.landmarks[:, 0].tolist() == expected[:, :2].tolist()


def test_candidates_are_counted_before_suppression_and_faces_after() -> None:
    # 33 x 33 of 65 x 65 and 17 x 17 of 33 x 33 pixels: IoU at most 0.27, so 0.2 suppresses.
    scores = [0.5, 0.9, 0.8, 0.1, 0.7, 0.1]
    assert sides(found_in(scores, score_threshold=0.2, nms_iou=0.2)) == [32, 256]
    assert sides(found_in(scores, score_threshold=0.2, nms_iou=0.2, candidates=2)) == [32]
    assert sides(found_in(scores, score_threshold=0.2, nms_iou=0.2, max_faces=1)) == [32]


def test_an_image_without_a_face_gives_empty_arrays() -> None:
    found = found_in([0.1] * 6)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))
    assert found.landmarks.shape == (0, 5, 2)


def faces(*boxes: tuple[float, float, float, float]) -> Detections:
    """Faces with scores 0.9, 0.8, ... and landmarks that tell them apart."""
    count = len(boxes)
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray([0.9 - 0.1 * index for index in range(count)], np.float32),
        np.arange(count, dtype=np.float32)[:, None, None] * np.ones((1, 5, 2), np.float32),
    )


def test_the_largest_face_is_the_one_with_the_largest_area() -> None:
    best, tall, large = (0, 0, 10, 10), (0, 0, 5, 40), (0, 0, 20, 15)  # 100, 200 and 300 pixels
    chosen = choose(faces(best, tall, large), "largest")
    assert chosen.boxes.tolist() == [list(large)]
    assert chosen.landmarks[0, 0].tolist() == [2, 2]
    assert len(choose(faces(best, tall, large), "all")) == 3


def test_one_face_is_chosen_by_its_index() -> None:
    found = faces((0, 0, 4, 9), (50, 50, 56, 56))
    assert choose(found, 1).boxes.tolist() == [[50, 50, 56, 56]]
    assert len(choose(Detections.none(), 1)) == 0
    with pytest.raises(IndexError):
        choose(found, 2)


def test_the_higher_scoring_of_equally_large_faces_is_chosen() -> None:
    assert choose(faces((0, 0, 4, 9), (50, 50, 56, 56)), "largest").boxes[0, 0] == 0


def test_choosing_among_no_faces_gives_no_face() -> None:
    assert len(choose(Detections.none(), "largest")) == 0


def test_faces_too_narrow_or_too_low_are_dropped_and_the_rest_keep_their_order() -> None:
    found = faces((0, 0, 10, 10), (0, 0, 9.9, 50), (0, 0, 50, 9.9), (5, 5, 30, 30))
    left = drop_small(found, 10)
    assert left.boxes.tolist() == [[0, 0, 10, 10], [5, 5, 30, 30]]
    assert left.landmarks[:, 0, 0].tolist() == [0, 3]
    assert len(drop_small(found, 0)) == 4
    assert len(drop_small(Detections.none(), 10)) == 0
