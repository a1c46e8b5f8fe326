"""ONNX files made of checkpoints, kept so that the next replica neither makes them anew nor loads
PyTorch."""

import hashlib
import os
import tempfile
from importlib import metadata
from pathlib import Path

from configs.catalogue import Model
from configs.environment import compiled_models_folder
from deployments.weights.checksums import file_digest
from deployments.weights.find import CONFIGURATION


def cache_path(checkpoint: Path, model: Model) -> Path | None:
    """Where the checkpoint's ONNX file is kept; None where nothing can be kept, as in a container
    without a home.

    The name tells the checkpoint and the configuration beside it by their SHA-256, and what made
    the file: this version of FaceGraph and of PyTorch.
    """
    folder = writable(compiled_models_folder())
    if folder is None:
        return None
    sources = [path for path in (checkpoint, checkpoint.with_name(CONFIGURATION)) if path.is_file()]
    digest = hashlib.sha256("".join(map(file_digest, sources)).encode()).hexdigest()
    makers = "-".join(metadata.version(package) for package in ("facegraph", "torch"))
    return folder / f"{model.id}-{digest}-{makers}.onnx"


def keep(content: bytes, file: Path) -> None:
    """At once and whole, as another replica may be reading."""
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
        part.write(content)
    os.replace(part.name, file)


def writable(folder: Path) -> Path | None:
    """The folder; None where it can be neither found nor made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
