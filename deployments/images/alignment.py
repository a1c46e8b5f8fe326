"""Cuts face chips: a warp by the least-squares similarity transform of the landmarks."""

import cv2
import numpy as np

from deployments.contracts import ByteArray, FaceCrop, FloatArray
from deployments.images.template import CHIP_SHAPE, CHIP_SIZE, similarity_transforms


def align(image: ByteArray, landmarks: FloatArray) -> ByteArray:
    """Cut the chips uint8 [N,112,112,3] BGR of faces from an image uint8 [H,W,3] BGR.

    landmarks: float32 [N,5,2] in pixels of the image. Pixels outside the image are black.
    """
    chips = np.empty((len(landmarks), *CHIP_SHAPE), np.uint8)
    for chip, transform in zip(chips, similarity_transforms(landmarks), strict=True):
        cv2.warpAffine(image, transform, (CHIP_SIZE, CHIP_SIZE), dst=chip, flags=cv2.INTER_LINEAR)
    return chips


def align_crops(crops: tuple[FaceCrop, ...], landmarks: FloatArray) -> ByteArray:
    """Cut the chips uint8 [N,112,112,3] BGR of a photo's faces, each from its own crop.

    landmarks: float32 [N,5,2] in pixels of the photo.
    """
    chips = [
        align(crop.pixels, crop.from_photo(points)[None])
        for crop, points in zip(crops, landmarks, strict=True)
    ]
    return np.concatenate([np.zeros((0, *CHIP_SHAPE), np.uint8), *chips])
