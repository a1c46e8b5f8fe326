"""Decodes a detection network's outputs: threshold, decoding, suppression, choice of faces."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FaceChoice, FloatArray
from deployments.detector.anchors import decode_boxes, decode_landmarks
from deployments.detector.candidates import (
    PROPOSAL_SCORE,
    SPREAD_SCORE,
    Candidates,
    box_sizes,
    group_means,
    landmark_spreads,
)

# Shorter side, in pixels of the network's input, from which the fine anchors find no face.
# Training assigns a face to anchors with an IoU of 0.35 or more, so anchors of 32 pixels answer
# for faces of up to 54. On the bundled photos at 17 sizes, 100 to 1500 pixels, no box of a fine
# anchor had a shorter side over 51.
LARGE_FACE = 56
# The coarse anchors answer for small faces too, faintly: with at least this score for a face of
# half the smallest anchor's side, in a box of at least this share of its size.
_TRACE_SCORE, _TRACE_SIZE = 0.02, 0.8
# Most boxes whose overlaps are computed together: one after the other costs more calls of NumPy,
# many at a time compute what a better box has suppressed.
_TOGETHER = 16
# Share of the smaller box from which two views show the same face.
_SAME_FACE = 0.3


class Rows:
    """A look's best rows, decoded, by falling score, in pixels of the network's input.

    boxes: float32 [R,4], scores: float32 [R], landmarks: float32 [R,5,2]. Scores are over
    `lowest_row_score`.
    """

    def __init__(
        self,
        boxes: FloatArray,
        scores: FloatArray,
        landmarks: FloatArray,
        config: DetectorConfig,
        *,
        boxes_over: Callable[[float], FloatArray] | None = None,
    ) -> None:
        """boxes_over: see the method; None if no other rows are known."""
        self._boxes, self._scores, self._landmarks = boxes, scores, landmarks
        self._config = config
        self._boxes_over = boxes_over

    @staticmethod
    def chosen(
        loc: FloatArray,
        scores: FloatArray,
        landmarks: FloatArray,
        *,
        anchors: FloatArray,
        config: DetectorConfig,
    ) -> "Rows":
        """The best rows of one image.

        loc: float32 [A,4], scores: float32 [A] and landmarks: float32 [A,10] for anchors: float32
        [A,4], as decoded in `anchors.py`.
        """
        rows = best_rows(scores, config)
        chosen = anchors[rows]
        boxes, points = decode_boxes(loc[rows], chosen), decode_landmarks(landmarks[rows], chosen)

        def boxes_over(score: float) -> FloatArray:
            weak = np.flatnonzero(scores > score)
            return decode_boxes(loc[weak], anchors[weak])

        return Rows(boxes, scores[rows], points, config, boxes_over=boxes_over)

    @staticmethod
    def from_canvas(rows: FloatArray, config: DetectorConfig) -> "Rows":
        """rows: float32 [R,15], of `deployments.detector.rows`."""
        return Rows(rows[:, 1:5], rows[:, 0], rows[:, 5:].reshape(-1, 5, 2), config)

    def boxes_over(self, score: float) -> FloatArray:
        """Boxes of all anchors that score over `score`, float32 [N,4], without suppression."""
        if self._boxes_over is None:
            return self._boxes[self._scores > score]
        return self._boxes_over(score)

    def shows_trace(self, px: float) -> bool:
        """True if an anchor may show a face of that side or more, however faintly."""
        return bool((box_sizes(self.boxes_over(_TRACE_SCORE)) >= _TRACE_SIZE * px).any())

    @cached_property
    def candidates(self) -> Candidates:
        """Candidates of the look, best first, after suppression, which the first reading does.

        Scores reach down to PROPOSAL_SCORE if weak candidates matter, else to the score threshold.
        """
        boxes, scores, points = self._boxes, self._scores, self._landmarks
        kept = np.asarray([group[0] for group in self._groups], np.intp)
        return Candidates(
            Detections(boxes[kept], scores[kept], points[kept]),
            landmark_spreads(self._groups, boxes, scores, points),
        )

    @property
    def averaged(self) -> Candidates:
        """The candidates with boxes and landmarks averaged over each with those it suppresses.

        This is box voting (Gidaris and Komodakis, arXiv 1505.01749), for landmarks too.
        """
        found, groups, scores = self.candidates, self._groups, self._scores
        return replace(
            found,
            detections=Detections(
                group_means(groups, scores, self._boxes),
                found.detections.scores,
                group_means(groups, scores, self._landmarks),
            ),
        )

    @cached_property
    def _groups(self) -> list[npt.NDArray[np.intp]]:
        config = self._config
        lowest = config.score_threshold
        if _weak_ones_matter(config):
            lowest = min(lowest, PROPOSAL_SCORE)
        count = int((self._scores > lowest).sum())
        return non_maximum_suppression(self._boxes, config.nms_iou, count=count)[: config.max_faces]


def best_rows(scores: FloatArray, config: DetectorConfig) -> npt.NDArray[np.intp]:
    """The rows that are looked at, best first, intp [R]; scores: float32 [A]."""
    rows = np.flatnonzero(scores > lowest_row_score(config))
    return rows[np.argsort(-scores[rows], kind="stable")][: config.candidates]


def lowest_row_score(config: DetectorConfig) -> float:
    """Rows that score this or less are not looked at."""
    return min(config.score_threshold, SPREAD_SCORE if _weak_ones_matter(config) else 1.0)


def _weak_ones_matter(config: DetectorConfig) -> bool:
    """True if candidates under the score threshold decide where to look again."""
    return config.turned_faces or config.coarse_side is not None


def non_maximum_suppression(
    boxes: FloatArray, iou: float, *, count: int | None = None
) -> list[npt.NDArray[np.intp]]:
    """Greedy suppression of boxes float32 [N,4], sorted best first.

    A box goes if it overlaps a kept one by more than `iou`. Returns for each box kept, in order,
    the index of it and then of those that it suppresses, intp [K]. Only the first `count` boxes are
    kept. Widths count pixels inclusively, x2 - x1 + 1, as the published detector does.
    """
    left = np.arange(len(boxes))
    count = len(boxes) if count is None else count
    groups: list[npt.NDArray[np.intp]] = []
    while left.size and left[0] < count:
        best = left[:_TOGETHER]
        best = best[best < count]
        apart = _are_apart(boxes[best], boxes[left], iou)
        free = np.ones(len(left), np.bool_)
        for index, others in enumerate(apart):
            if free[index]:
                free[index] = False
                suppressed = free & ~others
                groups.append(np.concatenate([best[index : index + 1], left[suppressed]]))
                free &= others
        left = left[free]
    return groups


def _are_apart(boxes: FloatArray, others: FloatArray, iou: float) -> npt.NDArray[np.bool_]:
    """True for each pair of boxes [N,4] and [M,4] that overlap by `iou` at most: bool [N,M]."""
    x1, y1, x2, y2 = boxes.T[..., None]
    left, top, right, bottom = others.T
    widths = np.minimum(x2, right) - np.maximum(x1, left) + 1
    heights = np.minimum(y2, bottom) - np.maximum(y1, top) + 1
    shared = np.maximum(widths, 0) * np.maximum(heights, 0)
    areas = (x2 - x1 + 1) * (y2 - y1 + 1) + (right - left + 1) * (bottom - top + 1)
    apart: npt.NDArray[np.bool_] = shared <= iou * (areas - shared)
    return apart


def merged(parts: Sequence[Candidates], *, score_threshold: float) -> Candidates:
    """The candidates of several views of one photo, each face once, by falling score.

    parts: in pixels of the same image. A candidate goes if a more upright one of another view
    covers a share of the smaller of their boxes: views show parts of faces, and turned ones. Faces
    that are surely upright in the first view stay.
    """
    found = Candidates.joined(parts)
    view = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    sure = (view == 0) & ~found.turned(score_threshold)
    order = np.lexsort((-found.uprightness, ~sure))
    found, view = found.select(order), view[order]
    boxes = found.detections.boxes
    covered = shares_of_smaller(boxes, boxes) >= _SAME_FACE
    covered &= view[:, None] != view
    kept = np.ones(len(found), np.bool_)
    for index in range(len(found)):
        if kept[index]:
            kept[index + 1 :] &= ~covered[index, index + 1 :]
    found = found.select(np.flatnonzero(kept))
    return found.select(np.argsort(-found.detections.scores, kind="stable"))


def supported(found: Candidates, others: Sequence[Candidates]) -> Candidates:
    """The candidates of one view that another view shows too, however weakly."""
    boxes = Candidates.joined(others).detections.boxes
    shares = shares_of_smaller(found.detections.boxes, boxes)
    return found.select(np.flatnonzero((shares >= _SAME_FACE).any(axis=1)))


def shares_of_smaller(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Intersections of boxes [N,4] and [M,4] over the area of the smaller one: float32 [N,M]."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    areas, other_areas = ((some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, others))
    smaller = np.maximum(np.minimum(areas[:, None], other_areas), 1e-6)
    shares: FloatArray = np.maximum(high - low, 0).prod(axis=2) / smaller
    return shares


def overlap(box: FloatArray, other: FloatArray) -> float:
    """Intersection over union of two boxes float32 [4], x1 y1 x2 y2."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = np.maximum(high - low, 0).prod()
    areas = [(one[2:] - one[:2]).prod() for one in (box, other)]
    return float(shared / max(sum(areas) - shared, 1e-6))


def choose(detections: Detections, faces: FaceChoice | int) -> Detections:
    """All of the faces, only the one whose box has the largest area, or the one of that index.

    Raises IndexError if there are faces, but not so many.
    """
    if faces == "all" or not len(detections):
        return detections
    if isinstance(faces, int):
        return detections.select(np.asarray([range(len(detections))[faces]]))
    return detections.select(np.asarray([np.argmax(box_sizes(detections.boxes))]))


def count_alike(detections: Detections, like_size: float) -> int:
    """Number of faces of at least `like_size` times the largest face's size, itself included.

    Sizes are square roots of the boxes' areas. 1 without a face.
    """
    sizes = box_sizes(detections.boxes)
    return max(1, int((sizes >= like_size * sizes.max(initial=0)).sum()))


def shows_large_face(candidates: Candidates) -> bool:
    """True if a face is larger than any that the fine anchors find.

    With such a face, the largest one is known without the fine anchors.
    """
    return bool((_shorter_sides(candidates.detections) >= LARGE_FACE).any())


def drop_small(detections: Detections, min_px: float) -> Detections:
    """The faces whose box is at least `min_px` wide and high."""
    return detections.select(np.flatnonzero(_shorter_sides(detections) >= min_px))


def _shorter_sides(detections: Detections) -> FloatArray:
    """float32 [N], in pixels."""
    sides: FloatArray = (detections.boxes[:, 2:] - detections.boxes[:, :2]).min(axis=1)
    return sides
