"""The photos in the default recognizer's package.

The demo page, the API's examples and `make demo` show them.
"""

from pathlib import Path, PurePosixPath

from configs.catalogue import CATALOGUE
from deployments.weights.find import package_file

PHOTOS = ("yaoming.jpg", "gdp.jpg", "players.jpg")
_MODEL = CATALOGUE["arcface-mbf"]  # the photos lie beside its weights


def example_photo(name: str) -> Path | None:
    """The file of a photo of PHOTOS; None for another name, or if the package is not installed."""
    if name not in PHOTOS or _MODEL.package is None:
        return None
    path = PurePosixPath(_MODEL.package.path).with_name(name)
    return package_file(_MODEL.package.model_copy(update={"path": str(path)}))


def bundled_photo(name: str) -> Path:
    """The file of a photo of PHOTOS.

    Raises FileNotFoundError, with the command that installs the package.
    """
    path = example_photo(name)
    if path is None:
        raise FileNotFoundError(f"{name}: install it with: {_MODEL.fetch_command}")
    return path
