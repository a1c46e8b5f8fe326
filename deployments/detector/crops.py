"""Face crops: the parts of a photo that face chips are cut from.

The detector passes them on instead of the photo.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from configs.catalogue import ARCFACE_CHIP, Chip
from deployments.contracts import FaceCrop, FloatArray
from deployments.images.alignment import averaged
from deployments.images.decode import DecodedImage
from deployments.images.template import similarity_transforms

# One pixel beyond a chip's edge for interpolation, one for rounding.
_MARGIN = 2
_ARCFACE_ONLY = (ARCFACE_CHIP,)


def max_reduction(landmarks: FloatArray, chips: Sequence[Chip] = _ARCFACE_ONLY) -> int:
    """Largest factor by which the photo may be reduced so that no chip has to be enlarged.

    landmarks: float32 [N,5,2] in pixels of the photo. chips: those that are cut of each face.
    """
    ratios = np.stack([_pixels_a_pixel(similarity_transforms(landmarks, chip)) for chip in chips])
    ratios = ratios[ratios > 0]
    return max(1, int(ratios.min())) if len(ratios) else 1


def cut_crops(
    image: DecodedImage, landmarks: FloatArray, chips: Sequence[Chip] = _ARCFACE_ONLY
) -> tuple[FaceCrop, ...]:
    """One crop for each face, in order; landmarks: float32 [N,5,2] in pixels of the photo.

    chips: those that are cut of each face. A crop of twice its chips' size or more is first
    averaged down by a whole factor. Otherwise the chips' bilinear interpolation would skip pixels,
    and the crop would be needlessly large.
    """
    transforms = [similarity_transforms(landmarks, chip) for chip in chips]
    ratios = np.stack([_pixels_a_pixel(of_chip) for of_chip in transforms]).min(axis=0)
    areas = [_areas(of_chip, chip) for of_chip, chip in zip(transforms, chips, strict=True)]
    lows = np.stack([low for low, _ in areas]).min(axis=0)
    highs = np.stack([high for _, high in areas]).max(axis=0)
    return tuple(
        _crop(image, low, high, shrink=max(1, int(ratio / image.reduction)))
        for low, high, ratio in zip(lows, highs, ratios, strict=True)
    )


def _pixels_a_pixel(transforms: FloatArray) -> FloatArray:
    """Pixels of the photo per pixel of the chip, float32 [N]; 0 if all landmarks coincide."""
    scales = np.linalg.norm(transforms[:, 0, :2], axis=1)
    ratios: FloatArray = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    return ratios


def _areas(transforms: FloatArray, chip: Chip) -> tuple[FloatArray, FloatArray]:
    """Upper left and lower right corners of the chips' areas, [N,2] x y in pixels of the photo."""
    size = chip.size
    corners = np.asarray([(0, 0), (0, size), (size, 0), (size, size)])
    inverses = [cv2.invertAffineTransform(transform) for transform in transforms]
    areas = np.asarray([corners @ one[:, :2].T + one[:, 2] for one in inverses])
    areas = areas.reshape(-1, 4, 2)
    return areas.min(axis=1), areas.max(axis=1)


def _crop(image: DecodedImage, low: FloatArray, high: FloatArray, *, shrink: int) -> FaceCrop:
    """low, high: corners of the area, x y in pixels of the photo."""
    left, top, right, bottom = _bounds(image, low, high, margin=_MARGIN * shrink)
    shrink = min(shrink, right - left, bottom - top)
    right, bottom = right - (right - left) % shrink, bottom - (bottom - top) % shrink
    reduction = image.reduction
    pixels = averaged(image.pixels[top:bottom, left:right], shrink)
    return FaceCrop(pixels, left * reduction, top * reduction, reduction * shrink)


def _bounds(
    image: DecodedImage, low: FloatArray, high: FloatArray, *, margin: int
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of an area, clipped to the image.

    An area that lies entirely outside the image gets one pixel of the image's edge.
    """
    first = np.floor(low / image.reduction).astype(int) - margin
    last = np.ceil(high / image.reduction).astype(int) + margin
    size = np.asarray(image.pixels.shape[1::-1])
    left, top = np.clip(first, 0, size - 1)
    right, bottom = np.clip(last, (left + 1, top + 1), size)
    return int(left), int(top), int(right), int(bottom)
