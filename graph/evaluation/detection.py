"""Average precision (AP) by WIDER FACE's protocol (wider_eval.m of its evaluation tools).

It differs from PASCAL VOC's: scores are normalised over the whole set, precision and recall are
computed at 1000 thresholds, faces outside of a setting's list are ignored (they are not missed, and
a box on them is no false positive), and photos without any face do not count. It was checked
against the published code by reading, and by a case worked out by hand in the tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import BoolArray, IntArray

# Lowest IoU at which a box detects a face.
MIN_IOU = 0.5
THRESHOLDS = 1000


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """The boxes that a detector found on one photo, sorted by falling score.

    boxes: float64 [M,4], x y width height in pixels. scores: float64 [M].
    """

    boxes: DoubleArray
    scores: DoubleArray

    def __post_init__(self) -> None:
        if (np.diff(self.scores) > 0).any():
            raise ValueError("scores: expected falling scores")


@dataclass(frozen=True, slots=True)
class TrueFaces:
    """The ground truth of one photo: boxes float64 [N,4], x y width height in pixels.

    settings: by name, mask of the faces that count in the setting, bool [N]; others are ignored.
    """

    boxes: DoubleArray
    settings: Mapping[str, BoolArray]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """A precision-recall curve: float64 [1000] each, at falling thresholds.

    faces: number of faces that count.
    """

    precision: DoubleArray
    recall: DoubleArray
    faces: int

    @property
    def average_precision(self) -> float:
        """The area under the precision envelope over the recall (VOC's, at every point); NaN if no
        face counts."""
        if not self.faces:
            return float("nan")
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(recall) * envelope[1:]).sum())


def precision_recall(
    truth: Sequence[TrueFaces], found: Sequence[FoundBoxes], setting: str
) -> PrecisionRecall:
    """The curve over all photos, `found[i]` compared with `truth[i]`."""
    counts = np.zeros((2, THRESHOLDS), np.int64)
    faces = 0
    for known, boxes in zip(truth, normalised(found), strict=True):
        counted = known.settings[setting]
        faces += int(counted.sum())
        if len(known.boxes) and len(boxes.scores):
            counts += _photo_counts(known.boxes, counted, boxes)
    proposals, recalled = counts
    precision = np.divide(recalled, proposals, out=np.zeros(THRESHOLDS), where=proposals > 0)
    return PrecisionRecall(precision, recalled / max(faces, 1), faces)


def photo_errors(known: TrueFaces, found: FoundBoxes, setting: str) -> tuple[int, int]:
    """Numbers of missed faces and of false positives on one photo, all its boxes accepted."""
    counted = known.settings[setting]
    faces, boxes = int(counted.sum()), len(found.scores)
    if not len(known.boxes) or not boxes:
        return faces, boxes
    proposals, recalled = cumulative_counts(known.boxes, counted, found.boxes)
    return faces - int(recalled[-1]), int(proposals[-1] - recalled[-1])


def normalised(found: Sequence[FoundBoxes]) -> list[FoundBoxes]:
    """The boxes with scores normalised over the whole set: the lowest is 0, the highest 1."""
    scores = np.concatenate([boxes.scores for boxes in found] or [np.zeros(0)])
    if not len(scores):
        return list(found)
    low, high = scores.min(), scores.max()
    span = high - low or 1.0
    return [FoundBoxes(boxes.boxes, (boxes.scores - low) / span) for boxes in found]


def cumulative_counts(
    truth: DoubleArray, counted: BoolArray, boxes: DoubleArray
) -> tuple[IntArray, IntArray]:
    """Cumulative numbers of proposals and of recalled faces, int64 [M] each, highest score first.

    truth: boxes [N,4] of one photo's faces; counted: bool [N], those that count in the setting.
    Each box is matched with the face that it overlaps most, even if that face has a box already:
    the second box is then a false positive. A box matched with an ignored face is no proposal.
    """
    ious = box_iou(boxes, truth)
    nearest = ious.argmax(axis=1)
    hits = ious.max(axis=1) >= MIN_IOU
    ignored = hits & ~counted[nearest]
    recalls = hits & counted[nearest]
    _, first = np.unique(np.where(recalls, nearest, -1), return_index=True)
    new = np.zeros(len(boxes), np.bool_)
    new[first] = True
    return np.cumsum(~ignored), np.cumsum(new & recalls)


def box_iou(boxes: DoubleArray, others: DoubleArray) -> DoubleArray:
    """Intersection over union, float64 [M,N], of boxes [M,4] with others [N,4], x y width height.

    Both corner pixels, x and x + width, lie inside the box, as in the protocol's own code.
    """
    corners, others_corners = _corners(boxes)[:, None], _corners(others)[None]
    top_left = np.maximum(corners[..., :2], others_corners[..., :2])
    bottom_right = np.minimum(corners[..., 2:], others_corners[..., 2:])
    shared = np.clip(bottom_right - top_left + 1, 0, None).prod(axis=-1)
    areas = (boxes[:, 2:] + 1).prod(axis=1)[:, None] + (others[:, 2:] + 1).prod(axis=1)[None]
    ratios: DoubleArray = shared / (areas - shared)
    return ratios


def _photo_counts(truth: DoubleArray, counted: BoolArray, found: FoundBoxes) -> IntArray:
    """Numbers of proposals and of recalled faces of one photo at each threshold, int64 [2,1000]."""
    thresholds = 1 - (np.arange(THRESHOLDS) + 1) / THRESHOLDS
    kept = np.searchsorted(-found.scores, -thresholds, side="right")
    so_far = np.stack(cumulative_counts(truth, counted, found.boxes))
    return np.concatenate([np.zeros((2, 1), np.int64), so_far], axis=1)[:, kept]


def _corners(boxes: DoubleArray) -> DoubleArray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
