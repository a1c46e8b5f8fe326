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


def similarity_transforms(points: FloatArray, template: FloatArray = TEMPLATE) -> FloatArray:
    """Least-squares similarity transforms (rotation, scale, shift) of points onto the template.

    points: float32 [N,K,2], template: float32 [K,2], both x y. Returns float32 [N,2,3], to be
    multiplied with (x, y, 1). Umeyama's closed form (IEEE TPAMI 13(4), 1991, eq. 40-43); in two
    dimensions the angle of a complex quotient replaces the SVD.
    Points that all coincide have no scale: their transform maps everything to the template's
    centre.
    """
    centres = points.mean(axis=1, dtype=np.float64)
    centred = points - centres[:, None]
    target_centre = template.mean(axis=0, dtype=np.float64)
    target = template - target_centre
    spread = (centred**2).sum(axis=(1, 2))
    along = (centred * target).sum(axis=(1, 2))
    across = (centred[..., 0] * target[:, 1] - centred[..., 1] * target[:, 0]).sum(axis=1)
    safe = np.where(spread > 0, spread, 1)
    cosine, sine = along / safe, across / safe  # scale included
    linear = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2)
    shift = target_centre - np.einsum("nij,nj->ni", linear, centres)
    return np.concatenate([linear, shift[..., None]], axis=2).astype(np.float32)


def rolls(landmarks: FloatArray) -> FloatArray:
    """Degrees by which faces are turned clockwise as seen in the photo, float32 [N] in -180..180.

    landmarks: float32 [N,5,2], x y in pixels. It is the turn that the similarity transform onto the
    template undoes.
    """
    transforms = similarity_transforms(landmarks)
    turned: FloatArray = np.degrees(np.arctan2(transforms[:, 0, 1], transforms[:, 0, 0]))
    return turned
