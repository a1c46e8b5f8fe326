"""Face crops: the parts of a photo that face chips are cut from.

The detector passes them on instead of the photo.
"""

import cv2
import numpy as np

from deployments.contracts import ByteArray, FaceCrop, FloatArray
from deployments.images.decode import DecodedImage
from deployments.images.template import CHIP_SIZE, similarity_transforms

# One pixel beyond a chip's edge for interpolation, one for rounding.
_MARGIN = 2


def max_reduction(landmarks: FloatArray) -> int:
    """Largest factor by which the photo may be reduced so that no chip has to be enlarged.

    landmarks: float32 [N,5,2] in pixels of the photo.
    """
    sides = _chip_sides(similarity_transforms(landmarks))
    sides = sides[sides > 0]
    return max(1, int(sides.min() // CHIP_SIZE)) if len(sides) else 1


def cut_crops(image: DecodedImage, landmarks: FloatArray) -> tuple[FaceCrop, ...]:
    """One crop for each face, in order; landmarks: float32 [N,5,2] in pixels of the photo.

    A crop of twice its chip's size or more is first averaged down by a whole factor. Otherwise the
    chip's bilinear interpolation would skip pixels, and the crop would be needlessly large.
    """
    transforms = similarity_transforms(landmarks)
    sides = _chip_sides(transforms) / image.reduction
    return tuple(
        _crop(image, transform, shrink=max(1, int(side // CHIP_SIZE)))
        for transform, side in zip(transforms, sides, strict=True)
    )


def _chip_sides(transforms: FloatArray) -> FloatArray:
    """Sides of the chips in pixels of the photo, float32 [N]; 0 if all landmarks coincide."""
    scales = np.linalg.norm(transforms[:, 0, :2], axis=1)
    sides: FloatArray = np.divide(CHIP_SIZE, scales, out=np.zeros_like(scales), where=scales > 0)
    return sides


def _crop(image: DecodedImage, transform: FloatArray, *, shrink: int) -> FaceCrop:
    left, top, right, bottom = _bounds(image, transform, margin=_MARGIN * shrink)
    shrink = min(shrink, right - left, bottom - top)
    right, bottom = right - (right - left) % shrink, bottom - (bottom - top) % shrink
    reduction = image.reduction
    pixels = _averaged(image.pixels[top:bottom, left:right], shrink)
    return FaceCrop(pixels, left * reduction, top * reduction, reduction * shrink)


def _bounds(
    image: DecodedImage, transform: FloatArray, *, margin: int
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a chip's area, clipped to the image.

    A chip that lies entirely outside the image gets one pixel of the image's edge.
    """
    corners = np.asarray([(0, 0), (0, CHIP_SIZE), (CHIP_SIZE, 0), (CHIP_SIZE, CHIP_SIZE)])
    inverse = cv2.invertAffineTransform(transform)
    in_photo = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.floor(in_photo.min(axis=0) / image.reduction).astype(int) - margin
    high = np.ceil(in_photo.max(axis=0) / image.reduction).astype(int) + margin
    size = np.asarray(image.pixels.shape[1::-1])
    left, top = np.clip(low, 0, size - 1)
    right, bottom = np.clip(high, (left + 1, top + 1), size)
    return int(left), int(top), int(right), int(bottom)


def _averaged(pixels: ByteArray, shrink: int) -> ByteArray:
    if shrink == 1:
        return np.ascontiguousarray(pixels)
    size = (pixels.shape[1] // shrink, pixels.shape[0] // shrink)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
