"""From the network's rows to faces: threshold, decode, suppress overlaps, choose."""

import numpy as np
import numpy.typing as npt

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FaceChoice, FloatArray
from deployments.detector.anchors import decode_boxes, decode_landmarks

# Training gives a face to an anchor of which it covers 0.35 or more (IoU), so that anchors of 32
# pixels answer for faces of up to 54; on the bundled photos at 17 sizes, 100 to 1500 pixels, none
# of them gave a box of which the shorter side was over 51.
LARGE_FACE = 56


def faces_from_rows(
    loc: FloatArray,
    scores: FloatArray,
    landmarks: FloatArray,
    *,
    anchors: FloatArray,
    config: DetectorConfig,
) -> Detections:
    """Faces of one image, best first, in pixels of the network's input.

    loc: float32 [A,4], scores: float32 [A], landmarks: float32 [A,10], of anchors [A,4].
    Only rows that pass the threshold are decoded.
    """
    rows = np.flatnonzero(scores > config.score_threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")][: config.candidates]
    chosen = anchors[rows]
    found = Detections(
        decode_boxes(loc[rows], chosen),
        scores[rows],
        decode_landmarks(landmarks[rows], chosen),
    )
    return found.select(non_maximum_suppression(found.boxes, config.nms_iou)[: config.max_faces])


def non_maximum_suppression(boxes: FloatArray, iou: float) -> npt.NDArray[np.intp]:
    """Greedy suppression of boxes [N,4] sorted best first; returns the indices kept, in order.

    Widths count pixels inclusively, x2 - x1 + 1, as the published detector does.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size:
        best, rest = left[0], left[1:]
        kept.append(int(best))
        widths = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        heights = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        shared = np.maximum(widths, 0) * np.maximum(heights, 0)
        left = rest[shared <= iou * (areas[best] + areas[rest] - shared)]
    return np.asarray(kept, np.intp)


def choose(detections: Detections, faces: FaceChoice) -> Detections:
    """All of the faces, or only the one whose box has the largest area."""
    if faces == "all" or len(detections) <= 1:
        return detections
    x1, y1, x2, y2 = detections.boxes.T
    return detections.select(np.asarray([np.argmax((x2 - x1) * (y2 - y1))]))


def shows_large_face(detections: Detections) -> bool:
    """Whether one of the faces, in pixels of the network's input, is too large to be mistaken: the
    fine anchors find none of that size, and none that covers it."""
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    return bool((sides.min(axis=1) >= LARGE_FACE).any())


def drop_small(detections: Detections, min_face_px: float) -> Detections:
    """Faces whose box is at least `min_face_px` wide and high."""
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    return detections.select(np.flatnonzero(sides.min(axis=1, initial=np.inf) >= min_face_px))
