"""Cuts face chips: a warp by the least-squares similarity transform of the landmarks."""

from collections.abc import Sequence

import cv2
import numpy as np

from configs.catalogue import ARCFACE_CHIP, Chip
from deployments.contracts import ByteArray, FaceCrop, FloatArray
from deployments.images.template import similarity_transforms, template_of


def align(image: ByteArray, landmarks: FloatArray, chip: Chip = ARCFACE_CHIP) -> ByteArray:
    """Cut the chips uint8 [N,size,size,3] BGR of faces from an image uint8 [H,W,3] BGR.

    landmarks: float32 [N,5,2] in pixels of the image. Pixels outside the image are black.
    """
    chips = _empty(len(landmarks), chip)
    for cut, transform in zip(chips, similarity_transforms(landmarks, chip), strict=True):
        _warp(image, transform, cut)
    return chips


def align_crops(
    crops: Sequence[FaceCrop], landmarks: FloatArray, chip: Chip = ARCFACE_CHIP
) -> ByteArray:
    """Cut the chips uint8 [N,size,size,3] BGR of a photo's faces, each from its own crop.

    landmarks: float32 [N,5,2] in pixels of the photo. A crop of twice the chip's size or more,
    which another chip may need, is averaged down first, as interpolation would skip pixels.
    """
    chips = _empty(len(landmarks), chip)
    if not len(landmarks):
        return chips
    placed = [crop.from_photo(points) for crop, points in zip(crops, landmarks, strict=True)]
    transforms = similarity_transforms(np.stack(placed), chip)
    for cut, crop, points, transform in zip(chips, crops, landmarks, transforms, strict=True):
        scale = float(np.hypot(*transform[0, :2]))
        if 0 < scale <= 1 / 2:
            fitting = _reduced(crop, int(1 / scale))
            cut[:] = align(fitting.pixels, fitting.from_photo(points)[None], chip)[0]
        else:
            _warp(crop.pixels, transform, cut)
    return chips


def on_arcface_chips(chips: ByteArray, chip: Chip) -> ByteArray:
    """Chips uint8 [N,size,size,3] BGR moved onto ArcFace's, uint8 [N,112,112,3]."""
    if chip == ARCFACE_CHIP:
        return chips
    moved = _empty(len(chips), ARCFACE_CHIP)
    [transform] = similarity_transforms(template_of(chip)[None])
    for cut, one in zip(moved, chips, strict=True):
        _warp(one, transform, cut)
    return moved


def averaged(pixels: ByteArray, factor: int) -> ByteArray:
    """Pixels uint8 [H,W,3], averaged down by a whole factor that divides both sides."""
    if factor == 1:
        return np.ascontiguousarray(pixels)
    size = (pixels.shape[1] // factor, pixels.shape[0] // factor)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _reduced(crop: FaceCrop, factor: int) -> FaceCrop:
    """The crop averaged down, less the rows and columns that fill no cell."""
    height, width = crop.pixels.shape[:2]
    factor = min(factor, height, width)
    whole = crop.pixels[: height - height % factor, : width - width % factor]
    pixels = averaged(whole, factor)
    return FaceCrop(pixels, crop.left, crop.top, crop.reduction * factor)


def _empty(count: int, chip: Chip) -> ByteArray:
    return np.empty((count, chip.size, chip.size, 3), np.uint8)


def _warp(image: ByteArray, transform: FloatArray, cut: ByteArray) -> None:
    size = cut.shape[1::-1]
    cv2.warpAffine(image, transform, size, dst=cut, flags=cv2.INTER_LINEAR)
