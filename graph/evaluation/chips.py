"""Aligned faces for a contact sheet."""

import base64
from pathlib import Path

import cv2
import numpy as np

from configs.limits import ImageLimits
from deployments.aligner.similarity import align
from deployments.contracts import ByteArray, Photo
from deployments.runtime.images import read_photo
from graph.schemas import Face

_JPEG_QUALITY = 80


def chip_of(path: Path, face: Face) -> ByteArray:
    """The face as the recognizer sees it: uint8 [112,112,3] BGR."""
    pixels = read_photo(Photo("image", path.read_bytes()), ImageLimits())
    return np.asarray(align(pixels, np.asarray([face.landmarks], np.float32))[0], np.uint8)


def data_url(chip: ByteArray) -> str:
    """As a JPEG inside the page."""
    _, encoded = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
