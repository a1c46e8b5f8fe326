"""Quality of faces: sharpness of chips, faults, and the expected cosine of an embedding.

A quality is the cosine to be expected between the face's embedding and that of an undamaged version
of the same photo. benchmarks/quality.py fits its parameters and says how well they hold.
"""

import cv2
import numpy as np
import numpy.typing as npt

from configs.catalogue import QualityCalibration
from deployments.contracts import ByteArray, Detections, FloatArray, Reason
from deployments.images.template import CHIP_SIZE

_HALF = CHIP_SIZE // 2
# Eyes to chin on a chip of half size, away from the photo's edge and the background.
_TOP, _BOTTOM, _LEFT, _RIGHT = 18, 52, 12, 44
# Across, down and along both diagonals, y x: four pixels of a chip.
_DIRECTIONS = ((0, 2), (2, 0), (2, 2), (2, -2))
# Quality by sharpness alone, fitted as the catalogue's: logit = 1.672 + 2.383 ln(sharpness).
_IMAGE = QualityCalibration(intercept=1.672, log_length=0.0, log_sharpness=2.383)

_LEAST = 1e-3  # length or sharpness; has a logarithm, and gives a quality of 0

# A quality under this is told as a fault, blurred or low_detail; no clear portrait is under it.
_FAULTY_QUALITY = 0.55
# Side of a box in pixels. Faces shrunk to it keep a median cosine of 0.84 with their large version,
# those of 20 pixels 0.61.
_SMALL_PX = 32
# Distance of the nose from the middle between the eyes, as a share of half their distance: about
# 0.85 tan(yaw), as the nose's tip lies 0.42 of the eyes' distance before them.
_TURNED, _PROFILE = 0.5, 1.0  # yaw of 30 and of 50 degrees


def sharpness(chips: ByteArray) -> FloatArray:
    """Sharpness float32 [N] of chips uint8 [N,112,112,3] BGR, whatever their contrast: 1 is sharp.

    It is the root mean square of second differences over four pixels, relative to the face's
    contrast, in the direction where it is lowest: motion blurs one direction only. Finer detail
    says little, as noise and the edges of JPEG's blocks have it too.
    """
    greys = [cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY) for chip in chips]
    halves = [cv2.resize(grey, (_HALF, _HALF), interpolation=cv2.INTER_AREA) for grey in greys]
    pixels = np.asarray(halves, np.float32).reshape(len(chips), _HALF, _HALF)
    face = _shifted(pixels, 0, 0)
    around = [_shifted(pixels, y, x) + _shifted(pixels, -y, -x) for y, x in _DIRECTIONS]
    detail = np.square(2 * face - np.asarray(around)).mean(axis=(2, 3)).min(axis=0)
    # One grey level more keeps an image of one colour from a division by 0.
    relative: FloatArray = np.sqrt(detail) / (face.std(axis=(1, 2)) + 1)
    return relative


def _shifted(pixels: FloatArray, y: int, x: int) -> FloatArray:
    return pixels[:, _TOP + y : _BOTTOM + y, _LEFT + x : _RIGHT + x]


def image_quality(sharpness: FloatArray) -> FloatArray:
    """Quality float32 [N] by sharpness alone, float32 [N]: of any recognizer's embedding."""
    return embedding_quality(np.ones_like(sharpness), sharpness, _IMAGE)


def are_blurred(sharpness: FloatArray) -> npt.NDArray[np.bool_]:
    """True for each face that is blurred, bool [N]; sharpness: float32 [N]."""
    blurred: npt.NDArray[np.bool_] = image_quality(sharpness) < _FAULTY_QUALITY
    return blurred


def embedding_quality(
    lengths: FloatArray, sharpness: FloatArray, calibration: QualityCalibration
) -> FloatArray:
    """Quality float32 [N] of embeddings.

    lengths: float32 [N], of the network's vectors before normalisation. sharpness: float32 [N], of
    the chips.
    """
    logit = (
        calibration.intercept
        + calibration.log_length * np.log(np.maximum(lengths, _LEAST))
        + calibration.log_sharpness * np.log(np.maximum(sharpness, _LEAST))
    )
    quality: FloatArray = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return quality


def faults(
    detections: Detections, sharpness: FloatArray, quality: FloatArray
) -> list[list[Reason]]:
    """The faults of each of N faces.

    sharpness: float32 [N]. quality: float32 [N], of the image or of the embeddings. low_detail: the
    embeddings show that the face lacks more than its sharpness tells, as with mosaics and noise.
    """
    x1, y1, x2, y2 = detections.boxes.T
    yaw = yaw_ratios(detections.landmarks)
    blurred = are_blurred(sharpness)
    found: dict[Reason, npt.NDArray[np.bool_]] = {
        "small": np.sqrt((x2 - x1) * (y2 - y1)) < _SMALL_PX,
        "blurred": blurred,
        "low_detail": (quality < _FAULTY_QUALITY) & ~blurred,
        "turned": (yaw >= _TURNED) & (yaw < _PROFILE),
        "profile": yaw >= _PROFILE,
    }
    return [[fault for fault, faces in found.items() if faces[i]] for i in range(len(detections))]


def yaw_ratios(landmarks: FloatArray) -> FloatArray:
    """Sideways distance of the nose from the middle between the eyes, float32 [N].

    landmarks: float32 [N,5,2]. In units of half the eyes' distance: 0 seen from the front, 1 where
    the nose lies under an eye.
    """
    eyes = landmarks[:, 1] - landmarks[:, 0]
    nose = landmarks[:, 2] - landmarks[:, :2].mean(axis=1)
    along = np.abs((nose * eyes).sum(axis=1))
    spread = np.square(eyes).sum(axis=1) / 2
    ratios: FloatArray = np.divide(along, spread, out=np.zeros_like(along), where=spread > 0)
    return ratios
