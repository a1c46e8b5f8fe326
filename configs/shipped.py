"""The Serve files that FaceGraph ships, found outside a checkout too."""

from pathlib import Path

_FOLDER = Path(__file__).parent

SERVE_CONFIG = _FOLDER / "serve_config.yaml"


def shipped_file(path: Path) -> Path | None:
    """The shipped file that the checkout has at this relative path; None if there is none.

    The paths are `serve_config.yaml` and `configs/profiles/NAME.yaml`.
    """
    if path == Path(SERVE_CONFIG.name):
        return SERVE_CONFIG
    file = _FOLDER / "profiles" / path.name
    return file if path == Path("configs/profiles") / path.name and file.is_file() else None
