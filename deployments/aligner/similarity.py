"""From landmarks to 112x112 chips: the least-squares similarity transform, then a warp."""

import cv2
import numpy as np

from deployments.contracts import ByteArray, FaceCrop, FloatArray
from deployments.images.template import CHIP_SIZE, similarity_transforms


def align(image: ByteArray, landmarks: FloatArray) -> ByteArray:
    """Chips uint8 [N,112,112,3] BGR of the faces with these landmarks [N,5,2] in an image
    uint8 [H,W,3] BGR. What lies outside of the image is black."""
    chips = np.empty((len(landmarks), CHIP_SIZE, CHIP_SIZE, 3), np.uint8)
    for chip, transform in zip(chips, similarity_transforms(landmarks), strict=True):
        cv2.warpAffine(image, transform, (CHIP_SIZE, CHIP_SIZE), dst=chip, flags=cv2.INTER_LINEAR)
    return chips


def align_crops(crops: tuple[FaceCrop, ...], landmarks: FloatArray) -> ByteArray:
    """Chips uint8 [N,112,112,3] BGR of faces with landmarks [N,5,2], in pixels of their photo, each
    from its own crop of it."""
    chips = [
        align(crop.pixels, crop.from_photo(points)[None])
        for crop, points in zip(crops, landmarks, strict=True)
    ]
    return np.concatenate([np.zeros((0, CHIP_SIZE, CHIP_SIZE, 3), np.uint8), *chips])
