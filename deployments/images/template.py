"""The ArcFace template and the transform of a face's landmarks onto it.

A face chip, or aligned crop, is a face of 112x112 pixels moved onto this template.
"""

import numpy as np

from deployments.contracts import FloatArray

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
# The template as complex numbers x + iy: its centre, and its points around it.
_CENTRE = complex(*TEMPLATE.mean(axis=0, dtype=np.float64))
_AROUND = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1].astype(np.float64) - _CENTRE


def similarity_transforms(landmarks: FloatArray) -> FloatArray:
    """Least-squares similarity transforms (rotation, scale, shift) of faces onto the template.

    landmarks: float32 [N,5,2], x y. Returns float32 [N,2,3], to be multiplied with (x, y, 1).
    Umeyama's closed form (IEEE TPAMI 13(4), 1991, eq. 40-43), in complex numbers x + iy, where
    rotation and scale are one factor. Landmarks that all coincide have no scale: their transform
    maps everything to the template's centre.
    """
    points = np.ascontiguousarray(landmarks, np.float64).view(np.complex128)[..., 0]
    centres = points.sum(axis=1) / len(TEMPLATE)  # exact for landmarks that coincide
    around = (points - centres[:, None]).conj()
    spread = np.einsum("nk,nk->n", around, around.conj()).real
    factor = around @ _AROUND / np.where(spread > 0, spread, 1)
    shift = _CENTRE - factor * centres
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
