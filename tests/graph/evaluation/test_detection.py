"""WIDER FACE's protocol: a case worked out by hand, and the same rules written as plain loops."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graph.evaluation.detection import (
    FoundBoxes,
    TrueFaces,
    box_iou,
    normalised,
    photo_errors,
    precision_recall,
)

Doubles = NDArray[np.float64]


def faces(*boxes: tuple[float, ...], counted: list[bool]) -> TrueFaces:
    return TrueFaces(
        np.asarray(boxes, np.float64).reshape(-1, 4), {"easy": np.asarray(counted, np.bool_)}
    )


def found(*rows: tuple[float, ...]) -> FoundBoxes:
    table = np.asarray(rows, np.float64).reshape(-1, 5)
    return FoundBoxes(table[:, :4], table[:, 4])


FIRST, IGNORED, SECOND, THIRD = (
    (0, 0, 10, 10), (100, 100, 10, 10), (200, 200, 20, 20), (50, 50, 30, 30),
)  # fmt: skip
TRUTH = [
    faces(FIRST, IGNORED, SECOND, counted=[True, False, True]),
    faces(THIRD, counted=[True]),
    faces(counted=[]),
]
FOUND = [
    # A true positive; on an ignored face; a second box on the first face; a true positive.
    found((*FIRST, 0.9), (*IGNORED, 0.8), (1, 0, 10, 10, 0.6), (*SECOND, 0.5)),
    found((300, 300, 10, 10, 0.1)),  # far from the face
    found((0, 0, 10, 10, 0.7)),  # on a photo without faces, which does not count
]


def test_average_precision_worked_out_by_hand() -> None:
    """Normalised scores are 1, 0.875, 0.625 and 0.5; 0; 0.75. Three faces count.

    Down to 0.626: one proposal, one face. To 0.501: two proposals, one face. To 0.001: three
    proposals, two faces. At 0: four proposals, two faces. The precision envelope is 1 up to a
    recall of 1/3 and 2/3 up to a recall of 2/3.
    """
    curve = precision_recall(TRUTH, FOUND, "easy")
    assert curve.faces == 3
    assert (curve.precision[0], curve.recall[0]) == (1, pytest.approx(1 / 3))
    assert curve.precision[380] == pytest.approx(1 / 2)  # at 0.619
    assert (curve.precision[700], curve.recall[700]) == pytest.approx((2 / 3, 2 / 3))
    assert (curve.precision[-1], curve.recall[-1]) == pytest.approx((2 / 4, 2 / 3))
    assert curve.average_precision == pytest.approx(1 / 3 + 2 / 3 * 1 / 3)


def test_overlap_counts_pixels_with_both_ends() -> None:
    # Boxes of 10 x 10 pixels; the first two share 5 x 10.
    boxes = np.asarray([[0, 0, 9, 9]], np.float64)
    others = np.asarray([[5, 0, 9, 9], [0, 0, 9, 9], [50, 50, 9, 9]], np.float64)
    assert box_iou(boxes, others).tolist() == [pytest.approx([50 / 150, 1, 0])]


def test_ap_is_0_without_boxes_and_nan_without_faces() -> None:
    nothing = [found() for _ in TRUTH]
    assert precision_recall(TRUTH, nothing, "easy").average_precision == 0
    assert np.isnan(precision_recall([], [], "easy").average_precision)


def test_a_photos_errors_are_its_missed_faces_and_false_boxes() -> None:
    errors = [photo_errors(*photo, "easy") for photo in zip(TRUTH, FOUND, strict=True)]
    assert errors == [(0, 1), (1, 1), (0, 1)]
    assert photo_errors(TRUTH[0], found(), "easy") == (2, 0)


def test_one_score_for_all_boxes_is_normalised_without_harm() -> None:
    assert [entry.scores.tolist() for entry in normalised([found((*FIRST, 0.7))])] == [[0.0]]


def test_boxes_that_are_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="falling"):
        found((*FIRST, 0.1), (*FIRST, 0.9))


def test_many_photos_agree_with_the_rules_written_as_loops() -> None:
    generator = np.random.default_rng(5)
    truth, boxes = [], []
    for _ in range(12):
        known = np.column_stack(
            [generator.uniform(0, 60, (6, 2)), generator.uniform(8, 30, (6, 2))]
        )[: generator.integers(0, 7)]
        jittered = known[generator.integers(0, max(len(known), 1), 9)] if len(known) else known
        jittered = jittered + generator.normal(0, 3, jittered.shape)
        scores = np.sort(generator.random(len(jittered)))[::-1]
        truth.append(TrueFaces(known, {"hard": generator.random(len(known)) < 0.7}))
        boxes.append(FoundBoxes(jittered, scores))
    expected = average_precision_by_loops(truth, boxes)
    assert 0.2 < expected < 0.9
    assert precision_recall(truth, boxes, "hard").average_precision == pytest.approx(expected)


def average_precision_by_loops(truth: list[TrueFaces], boxes: list[FoundBoxes]) -> float:
    every = [score for entry in boxes for score in entry.scores]
    low, high = min(every), max(every)
    points = [(0.0, 0.0)]
    total = sum(int(known.settings["hard"].sum()) for known in truth)
    for step in range(1, 1001):
        proposals = recalled = 0
        for known, entry in zip(truth, boxes, strict=True):
            scores = [(score - low) / (high - low) for score in entry.scores]
            kept = [box for box, score in zip(entry.boxes, scores, strict=True)
                    if score >= 1 - step / 1000]  # fmt: skip
            counts = counts_by_loops(known, kept)
            proposals, recalled = proposals + counts[0], recalled + counts[1]
        points.append((recalled / total, recalled / proposals if proposals else 0.0))
    area = 0.0
    for index in range(1, len(points)):
        best_from_here = max(precision for _, precision in points[index:])
        area += (points[index][0] - points[index - 1][0]) * best_from_here
    return area


def counts_by_loops(known: TrueFaces, kept: list[Doubles]) -> tuple[int, int]:
    if not len(known.boxes):
        return 0, 0
    proposals, taken = 0, set()
    for box in kept:
        ratios = [ratio_by_hand(box, face) for face in known.boxes]
        nearest = int(np.argmax(ratios))
        if ratios[nearest] < 0.5:
            proposals += 1
        elif known.settings["hard"][nearest]:
            proposals += 1
            taken.add(nearest)
    return proposals, len(taken)


def ratio_by_hand(first: Doubles, second: Doubles) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0]) + 1
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = (first[2] + 1) * (first[3] + 1) + (second[2] + 1) * (second[3] + 1)
    return float(shared / (areas - shared))
