"""Folders as ModelScope publishes them, with stand-in weights in place of the published ones."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from deployments.contracts import ByteArray
from tests import stand_in


def chips() -> ByteArray:
    """The three chips that the published recognizers answered for: uint8 [3,112,112,3] BGR."""
    return np.stack([stand_in.photo(112, 112, seed=seed) for seed in range(3)])


@contextmanager
def kept_while_used(folder: Path) -> Iterator[Path]:
    """Checkpoints have up to 500 MB, and pytest keeps the folders of three runs."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def save_plain(folder: Path, entries: dict[str, Tensor]) -> None:
    torch.save(entries, folder / "pytorch_model.pt")


def save_wrapped(folder: Path, entries: dict[str, Tensor]) -> None:
    """As a training script saves a `DataParallel` network beside other things."""
    torch.save({"epoch": 80, "state_dict": _prefixed(entries)}, folder / "pytorch_model.pt")


def save_prefixed(folder: Path, entries: dict[str, Tensor]) -> None:
    torch.save(_prefixed(entries), folder / "pytorch_model.pt")


def save_safetensors(folder: Path, entries: dict[str, Tensor]) -> None:
    save_file(entries, folder / "model.safetensors")


def save_configuration(folder: Path, **model: object) -> None:
    content = {"framework": "pytorch", "task": "face-recognition", "model": model}
    (folder / "configuration.json").write_text(json.dumps(content))


def _prefixed(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": entry for name, entry in entries.items()}
