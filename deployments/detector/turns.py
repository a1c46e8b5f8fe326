"""Views of turned faces: an input in four quarter turns, and a face turned upright."""

from dataclasses import replace

import cv2
import numpy as np

from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector.candidates import Candidates
from deployments.detector.preprocess import PAD_COLOUR

# Side of the square around a face that is turned upright, in sizes of the face.
_SURROUNDINGS = 2.5
# Longest side of that square, in pixels.
_LARGEST_SQUARE = 640
# Squares have sides of whole multiples, in pixels, so that the network sees few shapes.
_SQUARE_STEP = 32


def quarter_turned(pixels: ByteArray, turns: int) -> ByteArray:
    """The pixels uint8 [H,W,3], turned anticlockwise by `turns` quarter turns."""
    return np.ascontiguousarray(np.rot90(pixels, turns))


def turned_back(found: Candidates, turns: int, *, height: int, width: int) -> Candidates:
    """Move candidates of a `quarter_turned` input back to the input of `height` x `width`."""
    boxes, points = found.detections.boxes, found.detections.landmarks
    corners = _points_back(boxes.reshape(-1, 2, 2), turns, height, width)
    detections = Detections(
        np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
        found.detections.scores,
        _points_back(points, turns, height, width),
    )
    return replace(found, detections=detections)


def _points_back(points: FloatArray, turns: int, height: int, width: int) -> FloatArray:
    """points: float32 [...,2], x y in pixels; whole numbers are pixel centres."""
    x, y = points[..., 0], points[..., 1]
    places = {
        0: (x, y),
        1: (width - 1 - y, x),
        2: (width - 1 - x, height - 1 - y),
        3: (y, height - 1 - x),
    }
    return np.stack(places[turns % 4], axis=-1)


def upright_view(
    pixels: ByteArray, *, centre: FloatArray, size: float, roll: float
) -> tuple[ByteArray, FloatArray]:
    """A square around a face, turned so that the face is upright, at the scale of the pixels.

    pixels: uint8 [H,W,3]. centre: float32 [2] and size of the face, in pixels. roll: degrees by
    which the face is turned clockwise. Returns uint8 [S,S,3] and the transform float32 [2,3] from
    the pixels to the square.
    """
    wanted = min(_SURROUNDINGS * size, _LARGEST_SQUARE)
    side = max(1, round(wanted / _SQUARE_STEP)) * _SQUARE_STEP
    transform = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), roll, 1.0)
    transform[:, 2] = transform[:, 2] + (side - 1) / 2 - centre
    square = cv2.warpAffine(
        pixels,
        transform,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=PAD_COLOUR,
    )
    return square.astype(np.uint8, copy=False), transform.astype(np.float32)


def points_from_view(points: FloatArray, transform: FloatArray) -> FloatArray:
    """Points float32 [...,2] of an `upright_view`, in pixels of the input it was cut from."""
    inverse = cv2.invertAffineTransform(transform)
    moved: FloatArray = (points @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
    return moved
