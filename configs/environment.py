"""The environment variables that FaceGraph reads; nothing else reads the environment."""

import os
from pathlib import Path


def models_folder() -> Path | None:
    """`FACEGRAPH_MODELS`: a folder with one sub-folder of weights per model id."""
    value = os.environ.get("FACEGRAPH_MODELS")
    return Path(value).expanduser() if value else None
