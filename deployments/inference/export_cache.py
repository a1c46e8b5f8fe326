"""The export cache: ONNX files made of checkpoints.

A replica that finds its model's file there neither exports the checkpoint nor imports PyTorch.
"""

import hashlib
import os
from importlib import metadata
from pathlib import Path

from configs.catalogue import Model
from configs.environment import compiled_models_folder
from configs.files import write_atomically
from deployments.weights.checksums import file_digest
from deployments.weights.find import CONFIGURATION


def cache_path(checkpoint: Path, model: Model) -> Path | None:
    """The path of the checkpoint's ONNX file in the cache, whether it is there yet or not.

    None if the cache's folder cannot be written, as in a container without a home. The file's name
    holds the SHA-256 of the checkpoint and of the configuration beside it, and the versions of
    FaceGraph and PyTorch, which export it.
    """
    folder = writable(compiled_models_folder())
    if folder is None:
        return None
    sources = [path for path in (checkpoint, checkpoint.with_name(CONFIGURATION)) if path.is_file()]
    digest = hashlib.sha256("".join(map(file_digest, sources)).encode()).hexdigest()
    makers = "-".join(metadata.version(package) for package in ("facegraph", "torch"))
    return folder / f"{model.id}-{digest}-{makers}.onnx"


def store(content: bytes, path: Path) -> None:
    """Write the file atomically, readable by this user alone; another replica may be reading it."""
    write_atomically(path, content, mode=0o600)


def writable(folder: Path) -> Path | None:
    """The folder, made if need be; None if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
