"""Chips with margin: the area around a face, upright as in the photo, for classifiers.

Silent-Face-Anti-Spoofing (Minivision, Apache-2.0) cuts its chips so: an area that passes the
photo's edge is moved into the photo, and one that is larger than the photo shrinks to it.
"""

import cv2
import numpy as np
import numpy.typing as npt

from configs.classifier import ClassifierConfig
from deployments.contracts import ByteArray, ChipArea, DoubleArray, FloatArray, FoundFaces
from deployments.images.decode import DecodedImage


def area_of(config: ClassifierConfig) -> ChipArea:
    """The area of the photo that the classifier's chips show."""
    chip = config.classification
    return ChipArea(chip.size, chip.scale, chip.square)


def margin_reduction(boxes: FloatArray, area: ChipArea) -> int:
    """Largest factor by which the photo may be reduced so that no chip has to be enlarged.

    boxes: float32 [N,4], x1 y1 x2 y2 in pixels of the photo.
    """
    return max(1, int(_sides(boxes, area).min() // area.size)) if len(boxes) else 1


def cut_margin_chips(image: DecodedImage, boxes: FloatArray, area: ChipArea) -> ByteArray:
    """The faces' chips uint8 [N,size,size,3] BGR; boxes: float32 [N,4] in pixels of the photo."""
    chips = np.empty((len(boxes), area.size, area.size, 3), np.uint8)
    corners = _corners(boxes, area, image.width, image.height) // image.reduction
    for chip, (left, top, right, bottom) in zip(chips, corners.tolist(), strict=True):
        shown = image.pixels[top : bottom + 1, left : right + 1]
        cv2.resize(shown, (area.size, area.size), dst=chip, interpolation=cv2.INTER_LINEAR)
    return chips


def visible_shares(faces: FoundFaces, area: ChipArea) -> FloatArray:
    """Share of each face's area, where the face lies, that the photo has: float32 [N], 0 to 1."""
    low, high = _around(faces.detections.boxes, _sides(faces.detections.boxes, area))
    size = np.asarray([faces.width, faces.height])
    shown = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None)
    shares: FloatArray = (shown / (high - low)).prod(axis=1).astype(np.float32)
    return shares


def are_cut(faces: FoundFaces) -> npt.NDArray[np.bool_]:
    """True for each face whose box reaches the photo's edge, bool [N]."""
    boxes = faces.detections.boxes
    size = np.asarray([faces.width, faces.height])
    cut: npt.NDArray[np.bool_] = np.any((boxes[:, :2] <= 0) | (boxes[:, 2:] >= size), axis=1)
    return cut


def _sides(boxes: FloatArray, area: ChipArea) -> DoubleArray:
    """Width and height of each face's area in pixels of the photo, float64 [N,2]."""
    sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 1)
    if area.square:
        sides = np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
    scaled: DoubleArray = sides * area.scale
    return scaled


def _around(boxes: FloatArray, sides: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """The upper left and lower right corners of areas around the boxes, float64 [N,2]."""
    centres = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    return centres - sides / 2, centres + sides / 2


def _corners(boxes: FloatArray, area: ChipArea, width: int, height: int) -> npt.NDArray[np.intp]:
    """First and last column and row of each area, moved into the photo: x1 y1 x2 y2, [N,4]."""
    last = np.asarray([width, height]) - 1
    sides = _sides(boxes, area)
    fitting = sides * np.minimum(1, (last / sides).min(axis=1, keepdims=True))
    low, high = _around(boxes, fitting)
    moved = np.clip(-low, 0, None) - np.clip(high - last, 0, None)
    corners = np.concatenate([low + moved, high + moved], axis=1).astype(np.intp)
    return np.clip(corners, 0, np.tile(last, 2))
