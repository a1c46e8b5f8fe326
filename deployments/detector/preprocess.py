"""From a photo to the network's input: its size, a border, and padding to the network's stride."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.images.decode import DecodedImage

# What the network subtracts, so that padding is exactly zero there. uint8 BGR.
PAD_COLOUR = (104, 117, 123)
# The largest anchors are 512 pixels: a face that fills the photo is then 320 pixels large.
FRAMED_SIDE = 640
# Of the photo's longer side, on every side of it.
FRAME = 0.5


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """pixels: uint8 [h,w,3] BGR; scale: pixels of it per pixel of the photo; offset: where the
    photo's left and top edges are, in pixels of it."""

    pixels: ByteArray
    scale_x: float
    scale_y: float
    offset: int = 0

    def to_photo(self, detections: Detections) -> Detections:
        """The same faces in pixels of the photo."""
        scale = np.asarray([self.scale_x, self.scale_y] * 2, np.float32)
        boxes: FloatArray = (detections.boxes - self.offset) / scale
        landmarks: FloatArray = (detections.landmarks - self.offset) / scale[:2]
        return Detections(boxes, detections.scores, landmarks)


def first_side(longer: int, *, max_side: int | None, shrink_above: int | None = None) -> int:
    """What the longer side of a photo becomes for the first look at it."""
    if max_side is None or longer <= max(max_side, shrink_above or 0):
        return longer
    return max_side


def network_input(
    picture: DecodedImage,
    *,
    max_side: int | None,
    pad_multiple: int,
    shrink_above: int | None = None,
) -> NetworkInput:
    """Shrink a photo to a longer side of `max_side` (never enlarge), then pad right and below to a
    multiple of `pad_multiple`. Photos up to `shrink_above` keep their size."""
    longer = max(picture.width, picture.height)
    side = first_side(longer, max_side=max_side, shrink_above=shrink_above)
    return resized_input(picture, side=side, pad_multiple=pad_multiple)


def framed_input(picture: DecodedImage, *, pad_multiple: int) -> NetworkInput:
    """The photo amid an empty frame, so that a face that fills it is neither cut off nor larger
    than the anchors. Frame included, the longer side is `FRAMED_SIDE` at most."""
    inner = min(round(FRAMED_SIDE / (1 + 2 * FRAME)), max(picture.width, picture.height))
    return _input_of(picture, inner, frame=round(FRAME * inner), pad_multiple=pad_multiple)


def resized_input(picture: DecodedImage, *, side: int, pad_multiple: int) -> NetworkInput:
    """The photo at a longer side of `side`, whether that shrinks or enlarges it."""
    return _input_of(picture, side, pad_multiple=pad_multiple)


def _input_of(
    picture: DecodedImage, side: int, *, pad_multiple: int, frame: int = 0
) -> NetworkInput:
    width, height = _size(picture.pixels, side)
    picture = _halved(picture, side)
    rows, columns = picture.pixels.shape[:2]
    return NetworkInput(
        _pad(_resized(picture.pixels, width, height), frame, multiple=pad_multiple),
        width / (columns * picture.reduction),
        height / (rows * picture.reduction),
        frame,
    )


def _size(pixels: ByteArray, side: int) -> tuple[int, int]:
    """Width and height with a longer side of `side`."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _halved(picture: DecodedImage, side: int) -> DecodedImage:
    """The picture averaged over 2 x 2 pixels for as long as its longer side stays `side` or more.

    What is left to shrink is less than half, for which a linear interpolation sees every pixel.
    Both together take an eighth of the time of averaging over fractions of pixels.
    """
    rows, columns = picture.pixels.shape[:2]
    if max(rows, columns) < 2 * side or min(rows, columns) < 2:
        return picture
    even = picture.pixels[: rows // 2 * 2, : columns // 2 * 2]
    half = cv2.resize(even, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    pixels = half.astype(np.uint8, copy=False)
    return _halved(replace(picture, pixels=pixels, reduction=2 * picture.reduction), side)


def _resized(pixels: ByteArray, width: int, height: int) -> ByteArray:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width < pixels.shape[1] or height < pixels.shape[0]
    interpolation = cv2.INTER_LINEAR if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, (width, height), interpolation=interpolation)
    return resized.astype(np.uint8, copy=False)


def _pad(pixels: ByteArray, frame: int, *, multiple: int) -> ByteArray:
    height, width = pixels.shape[0] + 2 * frame, pixels.shape[1] + 2 * frame
    below, right = frame + -height % multiple, frame + -width % multiple
    if not below and not right:
        return pixels
    border = cv2.copyMakeBorder(
        pixels, frame, below, frame, right, cv2.BORDER_CONSTANT, value=PAD_COLOUR
    )
    return border.astype(np.uint8, copy=False)
