"""From a photo to the network's input: shrink, then pad to the network's stride."""

from dataclasses import dataclass

import cv2
import numpy as np

from deployments.contracts import ByteArray, Detections, FloatArray

# What the network subtracts, so that padding is exactly zero there. uint8 BGR.
PAD_COLOUR = (104, 117, 123)


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """pixels: uint8 [h,w,3] BGR; scale: pixels of it per pixel of the photo."""

    pixels: ByteArray
    scale_x: float
    scale_y: float

    def to_photo(self, detections: Detections) -> Detections:
        """The same faces in pixels of the photo."""
        scale = np.asarray([self.scale_x, self.scale_y] * 2, np.float32)
        boxes: FloatArray = detections.boxes / scale
        landmarks: FloatArray = detections.landmarks / scale[:2]
        return Detections(boxes, detections.scores, landmarks)


def network_input(photo: ByteArray, *, max_side: int | None, pad_multiple: int) -> NetworkInput:
    """Shrink a photo uint8 [H,W,3] BGR to a longer side of `max_side` (never enlarge), then pad
    right and below to a multiple of `pad_multiple`."""
    height, width = photo.shape[:2]
    shrink = 1.0 if max_side is None else min(1.0, max_side / max(height, width))
    if shrink < 1.0:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    padded = _pad(photo, pad_multiple)
    return NetworkInput(padded, photo.shape[1] / width, photo.shape[0] / height)


def _pad(pixels: ByteArray, multiple: int) -> ByteArray:
    height, width = pixels.shape[:2]
    padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    if padded == (height, width):
        return pixels
    canvas = np.empty((*padded, 3), np.uint8)
    canvas[:height, :width] = pixels
    canvas[height:, :] = PAD_COLOUR
    canvas[:height, width:] = PAD_COLOUR
    return canvas
