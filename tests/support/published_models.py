"""Model folders in ModelScope's layout, with stand-in weights in place of the published ones."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from deployments.contracts import ByteArray
from deployments.inference.onnx_export import export_onnx
from deployments.recognizer.iresnet import IResNet
from tests.support import parity

_NETWORKS = {
    "retinaface-r50": "retinaface_r50",
    "arcface-ir50": "arcface_ir50",
    "rts": "rts_irse64",
    "facemask": "facemask_ir252",
}


def chips() -> ByteArray:
    """The three chips of the recognizers' recorded answers: uint8 [3,112,112,3] BGR."""
    return np.stack([parity.photo(112, 112, seed=seed) for seed in range(3)])


@contextmanager
def kept_while_used(folder: Path) -> Iterator[Path]:
    """Delete the folder at the end: checkpoints have up to 500 MB, and pytest keeps three runs."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def save_models(folder: Path, *models: str) -> Path:
    """Write stand-ins for these models into a folder in the layout of FACEGRAPH_MODELS."""
    for model in models:
        (folder / model).mkdir()
        if model in _NETWORKS:
            save_plain(folder / model, parity.published_entries(_NETWORKS[model]))
        else:
            (folder / model / "model.onnx").write_bytes(_recognizer_file())
    return folder


def with_stand_ins(application: dict[str, Any], *, name: str, models: Path) -> dict[str, Any]:
    """A profile's application under another name, with its placement, on the CPU, and with one
    ingress replica, which starts sooner than two. models: a folder with a sub-folder a model."""

    def here(config: dict[str, Any]) -> dict[str, Any]:
        settings = {"device": "cpu", "precision": "float32", "runtime": "auto"}
        return config | settings | {"weights": str(models / config["model"])}

    args = application["args"]
    pools = {pool: here(config) for pool, config in args["recognizers"].items()}
    ingress, *stages = application["deployments"]
    scaling = ingress.get("autoscaling_config")
    one = {"autoscaling_config": scaling | {"min_replicas": 1}} if scaling else {"num_replicas": 1}
    return application | {
        "name": name,
        "route_prefix": f"/{name}",
        "args": args | {"detector": here(args["detector"]), "recognizers": pools},
        "deployments": [ingress | one, *stages],
    }


def save_plain(folder: Path, entries: dict[str, Tensor]) -> None:
    torch.save(entries, folder / "pytorch_model.pt")


def save_wrapped(folder: Path, entries: dict[str, Tensor]) -> None:
    """Save as a training script saves a `DataParallel` network beside other things."""
    torch.save({"epoch": 80, "state_dict": _prefixed(entries)}, folder / "pytorch_model.pt")


def save_prefixed(folder: Path, entries: dict[str, Tensor]) -> None:
    torch.save(_prefixed(entries), folder / "pytorch_model.pt")


def save_safetensors(folder: Path, entries: dict[str, Tensor]) -> None:
    save_file(entries, folder / "model.safetensors")


def save_configuration(folder: Path, **model: object) -> None:
    content = {"framework": "pytorch", "task": "face-recognition", "model": model}
    (folder / "configuration.json").write_text(json.dumps(content))


@cache
def _recognizer_file() -> bytes:
    """An ONNX file of a recognizer, with the exporter's names."""
    module = IResNet()
    module.load_state_dict(parity.entries_for(module))
    example = torch.zeros(1, 3, 112, 112)
    return export_onnx(module.eval(), example=example, free_axes={0: "batch"})


def _prefixed(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": entry for name, entry in entries.items()}
