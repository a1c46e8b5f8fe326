"""Decodes a detection network's outputs: threshold, decoding, suppression, choice of faces."""

import numpy as np
import numpy.typing as npt

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FaceChoice, FloatArray
from deployments.detector.anchors import decode_boxes, decode_landmarks

# Shorter side, in pixels of the network's input, from which the fine anchors find no face.
# Training assigns a face to anchors with an IoU of 0.35 or more, so anchors of 32 pixels answer
# for faces of up to 54. On the bundled photos at 17 sizes, 100 to 1500 pixels, no box of a fine
# anchor had a shorter side over 51.
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

    loc: float32 [A,4], scores: float32 [A] and landmarks: float32 [A,10] for anchors: float32
    [A,4], as decoded in `anchors.py`. Only rows that score over the threshold are decoded.
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
    """Greedy suppression of boxes float32 [N,4], sorted best first.

    A box goes if it overlaps a kept one by more than `iou`. Returns the indices kept, intp [K], in
    order. Widths count pixels inclusively, x2 - x1 + 1, as the published detector does.
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


def choose(detections: Detections, faces: FaceChoice | int) -> Detections:
    """All of the faces, only the one whose box has the largest area, or the one of that index.

    Raises IndexError if there are faces, but not so many.
    """
    if faces == "all" or not len(detections):
        return detections
    if isinstance(faces, int):
        return detections.select(np.asarray([range(len(detections))[faces]]))
    x1, y1, x2, y2 = detections.boxes.T
    return detections.select(np.asarray([np.argmax((x2 - x1) * (y2 - y1))]))


def shows_large_face(detections: Detections) -> bool:
    """True if a face is larger than any that the fine anchors find.

    detections: in pixels of the network's input. With such a face, the largest one is known without
    the fine anchors.
    """
    return bool((_shorter_sides(detections) >= LARGE_FACE).any())


def drop_small(detections: Detections, min_face_px: float) -> Detections:
    """The faces whose box is at least `min_face_px` wide and high."""
    return detections.select(np.flatnonzero(_shorter_sides(detections) >= min_face_px))


def _shorter_sides(detections: Detections) -> FloatArray:
    """float32 [N], in pixels."""
    sides: FloatArray = (detections.boxes[:, 2:] - detections.boxes[:, :2]).min(axis=1)
    return sides
