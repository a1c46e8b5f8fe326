"""The templates of face chips, and the transform of a face's landmarks onto one.

A face chip, or aligned crop, is a face moved onto a template: without further words ArcFace's, of
112x112 pixels.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from configs.catalogue import ARCFACE_CHIP, Chip, TemplateName
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidImage

CHIP_SIZE = 112
CHIP_SHAPE = (CHIP_SIZE, CHIP_SIZE, 3)
# Left eye, right eye, nose, left and right mouth corner on a 112x112 chip, x y (ArcFace, as
# InsightFace publishes it).
TEMPLATE = np.asarray(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ],
    np.float32,
)
# The same points of dlib's mean face, of side 1: those of its 68 points, an eye being the mean of
# its six (`get_face_chip_details`).
_DLIB = (
    (0.225492, 0.215990),
    (0.754761, 0.215990),
    (0.490127, 0.515625),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)
_OF_SIDE_1: dict[TemplateName, FloatArray] = {
    "arcface": TEMPLATE / np.float32(CHIP_SIZE),
    "dlib": np.asarray(_DLIB, np.float32),
}


def template_of(chip: Chip) -> FloatArray:
    """The template's five points on a chip, float32 [5,2], x y in pixels."""
    if chip == ARCFACE_CHIP:
        return TEMPLATE
    side = chip.size / (1 + 2 * chip.margin)
    points: FloatArray = (_OF_SIDE_1[chip.template] + np.float32(chip.margin)) * np.float32(side)
    return points


@lru_cache
def _centred(chip: Chip) -> tuple[complex, npt.NDArray[np.complex128]]:
    """The template as complex numbers x + iy: its centre, and its points around it."""
    points = template_of(chip)
    centre = complex(*points.mean(axis=0, dtype=np.float64))
    return centre, points[:, 0] + 1j * points[:, 1].astype(np.float64) - centre


def similarity_transforms(landmarks: FloatArray, chip: Chip = ARCFACE_CHIP) -> FloatArray:
    """Least-squares similarity transforms (rotation, scale, shift) of faces onto a chip's template.

    landmarks: float32 [N,5,2], x y. Returns float32 [N,2,3], to be multiplied with (x, y, 1).
    Umeyama's closed form (IEEE TPAMI 13(4), 1991, eq. 40-43), in complex numbers x + iy, where
    rotation and scale are one factor. Landmarks that all coincide have no scale: their transform
    maps everything to the template's centre.
    """
    centre, template = _centred(chip)
    points = np.ascontiguousarray(landmarks, np.float64).view(np.complex128)[..., 0]
    centres = points.sum(axis=1) / len(template)  # exact for landmarks that coincide
    around = (points - centres[:, None]).conj()
    spread = np.einsum("nk,nk->n", around, around.conj()).real
    factor = around @ template / np.where(spread > 0, spread, 1)
    shift = centre - factor * centres
    rows = [factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag]
    transforms: FloatArray = np.asarray(rows, np.float32).T.reshape(-1, 2, 3)
    return transforms


def rolls(landmarks: FloatArray) -> FloatArray:
    """Degrees by which faces are turned clockwise as seen in the photo, float32 [N] in -180..180.

    landmarks: float32 [N,5,2], x y in pixels. It is the turn that the similarity transform onto the
    template undoes.
    """
    transforms = similarity_transforms(landmarks)
    turned: FloatArray = np.degrees(np.arctan2(transforms[:, 0, 1], transforms[:, 0, 0]))
    return turned


def require_chips(chips: ByteArray, size: int) -> None:
    """Raise InvalidImage for an array other than chips uint8 [N,size,size,3]."""
    if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (size, size, 3):
        raise InvalidImage(
            f"chips: expected uint8 (N, {size}, {size}, 3) BGR, got {chips.dtype} {chips.shape}"
        )
