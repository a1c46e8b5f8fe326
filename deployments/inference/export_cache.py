"""The export cache: ONNX files made from checkpoints, in a folder on disk.

A replica that finds its model's file there neither exports the checkpoint nor imports PyTorch.
OpenVINO keeps its compiled models in the same folder.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from configs.catalogue import Model
from configs.environment import compiled_models_folder
from configs.files import write_atomically
from deployments.weights.checksums import file_digest
from deployments.weights.find import CONFIGURATION


def cache_path(checkpoint: Path, model: Model) -> Path | None:
    """The path of the checkpoint's ONNX file in the cache, whether it is there yet or not.

    None without a `cache_folder`. The file's name holds a SHA-256 of the checkpoint and of the
    configuration beside it, and the versions of FaceGraph and PyTorch, which export it.
    """
    folder = cache_folder()
    if folder is None:
        return None
    sources = [path for path in (checkpoint, checkpoint.with_name(CONFIGURATION)) if path.is_file()]
    digest = hashlib.sha256("".join(map(file_digest, sources)).encode()).hexdigest()
    makers = "-".join(metadata.version(package) for package in ("facegraph", "torch"))
    return folder / f"{model.id}-{digest}-{makers}.onnx"


def store(content: bytes, path: Path) -> None:
    """Write the file atomically, readable by this user alone; another replica may be reading it."""
    write_atomically(path, content, mode=0o600)


@contextmanager
def locked_cache_folder() -> Iterator[Path | None]:
    """The cache's folder, where no other process is compiling.

    OpenVINO writes a compiled model in place: a process that finds half of one fails. The replicas
    that wait read the model that the first one compiled.
    """
    folder = cache_folder()
    if folder is None:
        yield None
        return
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield folder


def cache_folder() -> Path | None:
    """The cache's folder, created if it is missing.

    None if it cannot be written, as in a container without a home.
    """
    folder = compiled_models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
