"""The environment variables that FaceGraph reads; nothing else reads the environment."""

import os
from pathlib import Path

DEFAULT_MODELS_FOLDER = "~/.cache/facegraph/models"


def models_folder() -> Path:
    """`FACEGRAPH_MODELS`, or its default: a folder with one sub-folder of weights per model id."""
    return Path(os.environ.get("FACEGRAPH_MODELS") or DEFAULT_MODELS_FOLDER).expanduser()
