"""Makes the detection network's input from a photo: resizing, border and padding."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.images.decode import DecodedImage

# The mean colour that the network subtracts, uint8 BGR: padding becomes exactly zero.
PAD_COLOUR = (104, 117, 123)
# Longer side of a framed photo, in pixels. A face that fills the photo then has 320 pixels, well
# under the largest anchors' 512.
FRAMED_SIDE = 640
# Border width on each side, as a fraction of the photo's longer side.
FRAME = 0.5
# Sides of a face and of its view, in pixels. On 102 portraits of public projects, landmarks of such
# views were a third nearer to the mean of looks at eight sizes than those of a look at 640 pixels.
VIEWED_FACE, VIEW = 128, 192


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A photo as the network sees it.

    pixels: uint8 [h,w,3] BGR. scale_x, scale_y: pixels of the input per pixel of the photo.
    left, top: position of the photo's left and top edges, in pixels of the input; negative for a
    part of the photo. least_px: side of the smallest face that matters in this look, in pixels of
    the input.
    """

    pixels: ByteArray
    scale_x: float
    scale_y: float
    left: float = 0
    top: float = 0
    least_px: float = 0

    def to_photo(self, detections: Detections) -> Detections:
        """Convert faces from pixels of the input to pixels of the photo."""
        scale = np.asarray([self.scale_x, self.scale_y] * 2, np.float32)
        corner = np.asarray([self.left, self.top] * 2, np.float32)
        boxes: FloatArray = (detections.boxes - corner) / scale
        landmarks: FloatArray = (detections.landmarks - corner[:2]) / scale[:2]
        return Detections(boxes, detections.scores, landmarks)

    def part(self, left: int, top: int, width: int, height: int) -> "NetworkInput":
        """The part of that size at `left` and `top`, in pixels of the input."""
        pixels = np.ascontiguousarray(self.pixels[top : top + height, left : left + width])
        return replace(self, pixels=pixels, left=self.left - left, top=self.top - top)


def first_pass_side(longer: int, *, max_side: int | None, shrink_above: int | None = None) -> int:
    """Longer side of the first pass's input, in pixels, for a photo whose longer side is `longer`.

    It is `max_side` for photos over `max_side` and over `shrink_above`, else the photo's own.
    """
    if max_side is None or longer <= max(max_side, shrink_above or 0):
        return longer
    return max_side


def framed_input(image: DecodedImage, *, pad_multiple: int) -> NetworkInput:
    """The photo inside an empty border, for faces that fill it.

    Such a face is then neither cut off nor larger than the anchors. With the border, the longer
    side is `FRAMED_SIDE` at most.
    """
    inner = min(round(FRAMED_SIDE / (1 + 2 * FRAME)), image.longer_side)
    frame = round(FRAME * inner)
    return resized_input(image, side=inner, pad_multiple=pad_multiple, frame=frame)


def resized_input(
    image: DecodedImage, *, side: int, pad_multiple: int, frame: int = 0
) -> NetworkInput:
    """The photo resized to a longer side of `side`, inside a border of `frame` pixels.

    It is padded right and below to multiples of `pad_multiple`.
    """
    width, height = _size(image.pixels, side)
    image = _halved(image, side)
    rows, columns = image.pixels.shape[:2]
    return NetworkInput(
        _pad(_resized(image.pixels, width, height), frame=frame, multiple=pad_multiple),
        width / (columns * image.reduction),
        height / (rows * image.reduction),
        frame,
        frame,
    )


def letterboxed_input(image: DecodedImage, height: int, width: int) -> NetworkInput:
    """The photo in the upper left corner of a black input, which it fills in one direction."""
    item = letterboxed(image.pixels, height, width)
    reduction = image.reduction
    return replace(item, scale_x=item.scale_x / reduction, scale_y=item.scale_y / reduction)


def letterboxed(
    pixels: ByteArray, height: int, width: int, *, enlarge: bool = True
) -> NetworkInput:
    """The pixels uint8 [h,w,3] in the upper left corner of a black input of `height` x `width`.

    They are resized as InsightFace resizes them: linearly, to rounded down sizes, with the scale of
    the height for both directions. The answers are then its own to the pixel, at the price of a
    shift of up to 1/300 of the width.
    enlarge: also pixels that are smaller than the input.
    """
    rows, columns = pixels.shape[:2]
    canvas = np.zeros((height, width, 3), np.uint8)
    if not enlarge and rows <= height and columns <= width:
        canvas[:rows, :columns] = pixels
        return NetworkInput(canvas, 1.0, 1.0)
    if rows * width > columns * height:
        own_height, own_width = height, max(1, int(height * columns / rows))
    else:
        own_height, own_width = max(1, int(width * rows / columns)), width
    resized = cv2.resize(pixels, (own_width, own_height), interpolation=cv2.INTER_LINEAR)
    canvas[:own_height, :own_width] = resized
    scale = own_height / rows
    return NetworkInput(canvas, scale, scale)


def smaller_input(item: NetworkInput, side: int) -> NetworkInput:
    """An input without border, shrunk to a longer side of `side`."""
    small = resized_input(DecodedImage.whole(item.pixels), side=side, pad_multiple=1)
    return replace(
        small, scale_x=small.scale_x * item.scale_x, scale_y=small.scale_y * item.scale_y
    )


def face_view(image: DecodedImage, box: FloatArray) -> NetworkInput:
    """A square view of a face, which has one size in all views.

    box: float32 [4], x1 y1 x2 y2 in pixels of the photo. The view is empty beside the photo.
    """
    low, high = box.reshape(2, 2) / image.reduction
    scale = VIEWED_FACE / np.sqrt((high - low).prod())
    centre, reach = (low + high) / 2, VIEW / 2 / scale
    limits = image.pixels.shape[1::-1]
    left, top = np.clip(np.ceil(centre - reach).astype(int), 0, np.asarray(limits) - 1)
    right, bottom = np.clip(np.floor(centre + reach).astype(int), (left + 1, top + 1), limits)
    part = DecodedImage.whole(image.pixels[top:bottom, left:right])
    side = min(VIEW, max(1, round(part.longer_side * float(scale))))
    item = resized_input(part, side=side, pad_multiple=1)
    height, width = item.pixels.shape[:2]
    centre = (centre - (left, top)) * (item.scale_x, item.scale_y)
    space = np.asarray((VIEW - width, VIEW - height))
    x, y = np.clip(np.rint(VIEW / 2 - centre), 0, space).astype(int).tolist()
    pixels = np.full((VIEW, VIEW, 3), PAD_COLOUR, np.uint8)
    pixels[y : y + height, x : x + width] = item.pixels
    return NetworkInput(
        pixels,
        item.scale_x / image.reduction,
        item.scale_y / image.reduction,
        x - left * item.scale_x,
        y - top * item.scale_y,
    )


def _size(pixels: ByteArray, side: int) -> tuple[int, int]:
    """Width and height of `pixels` once resized to a longer side of `side`."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _halved(image: DecodedImage, side: int) -> DecodedImage:
    """Halve the image by averages over 2 x 2 pixels while its longer side stays at least `side`.

    The factor that remains is below two, so that linear interpolation reads every pixel. Both
    together take an eighth of the time of averaging over fractions of pixels.
    """
    rows, columns = image.pixels.shape[:2]
    if max(rows, columns) < 2 * side or min(rows, columns) < 2:
        return image
    even = image.pixels[: rows // 2 * 2, : columns // 2 * 2]
    half = cv2.resize(even, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    pixels = half.astype(np.uint8, copy=False)
    return _halved(replace(image, pixels=pixels, reduction=2 * image.reduction), side)


def _resized(pixels: ByteArray, width: int, height: int) -> ByteArray:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width < pixels.shape[1] or height < pixels.shape[0]
    interpolation = cv2.INTER_LINEAR if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, (width, height), interpolation=interpolation)
    return resized.astype(np.uint8, copy=False)


def _pad(pixels: ByteArray, *, frame: int, multiple: int) -> ByteArray:
    height, width = pixels.shape[0] + 2 * frame, pixels.shape[1] + 2 * frame
    below, right = frame + -height % multiple, frame + -width % multiple
    if not below and not right:
        return pixels
    border = cv2.copyMakeBorder(
        pixels, frame, below, frame, right, cv2.BORDER_CONSTANT, value=PAD_COLOUR
    )
    return border.astype(np.uint8, copy=False)
