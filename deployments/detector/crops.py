"""The parts of a photo that its faces' chips are made from: all of it that leaves the detector."""

import cv2
import numpy as np

from deployments.contracts import ByteArray, FaceCrop, FloatArray
from deployments.images.decode import DecodedImage
from deployments.images.template import CHIP_SIZE, similarity_transforms

# Interpolation reads one pixel beyond a chip's edge; the other is for rounding.
_MARGIN = 2


def needed_reduction(landmarks: FloatArray) -> int:
    """Pixels of the photo, across and down, that one pixel of its picture may stand for so that no
    chip has more pixels than the part of the picture that it is made from.

    landmarks: float32 [N,5,2] in pixels of the photo.
    """
    sides = _chip_sides(similarity_transforms(landmarks))
    sides = sides[sides > 0]
    return max(1, int(sides.min() // CHIP_SIZE)) if len(sides) else 1


def cut_crops(picture: DecodedImage, landmarks: FloatArray) -> tuple[FaceCrop, ...]:
    """A crop of each face with these landmarks, float32 [N,5,2] in pixels of the photo.

    A face of more than two pixels for each of its chip's is averaged down first: a chip would be
    interpolated from a few of them only, and the crop be larger than what it is good for.
    """
    transforms = similarity_transforms(landmarks)
    sides = _chip_sides(transforms) / picture.reduction
    return tuple(
        _crop(picture, transform, shrink=max(1, int(side // CHIP_SIZE)))
        for transform, side in zip(transforms, sides, strict=True)
    )


def _chip_sides(transforms: FloatArray) -> FloatArray:
    """What a chip's sides are in pixels of the photo; 0 where landmarks coincide."""
    scales = np.linalg.norm(transforms[:, 0, :2], axis=1)
    sides: FloatArray = np.divide(CHIP_SIZE, scales, out=np.zeros_like(scales), where=scales > 0)
    return sides


def _crop(picture: DecodedImage, transform: FloatArray, *, shrink: int) -> FaceCrop:
    left, top, right, bottom = _bounds(picture, transform, margin=_MARGIN * shrink)
    shrink = min(shrink, right - left, bottom - top)
    right, bottom = right - (right - left) % shrink, bottom - (bottom - top) % shrink
    reduction = picture.reduction
    pixels = _averaged(picture.pixels[top:bottom, left:right], shrink)
    return FaceCrop(pixels, left * reduction, top * reduction, reduction * shrink)


def _bounds(
    picture: DecodedImage, transform: FloatArray, *, margin: int
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of the picture under a chip, as far as it goes; one
    pixel of its edge where the chip lies beside the picture."""
    corners = np.asarray([(0, 0), (0, CHIP_SIZE), (CHIP_SIZE, 0), (CHIP_SIZE, CHIP_SIZE)])
    inverse = cv2.invertAffineTransform(transform)
    in_photo = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.floor(in_photo.min(axis=0) / picture.reduction).astype(int) - margin
    high = np.ceil(in_photo.max(axis=0) / picture.reduction).astype(int) + margin
    size = np.asarray(picture.pixels.shape[1::-1])
    left, top = np.clip(low, 0, size - 1)
    right, bottom = np.clip(high, (left + 1, top + 1), size)
    return int(left), int(top), int(right), int(bottom)


def _averaged(pixels: ByteArray, shrink: int) -> ByteArray:
    if shrink == 1:
        return np.ascontiguousarray(pixels)
    size = (pixels.shape[1] // shrink, pixels.shape[0] // shrink)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
