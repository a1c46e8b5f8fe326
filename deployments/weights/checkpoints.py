"""Reads PyTorch checkpoints: only tensors are loaded, and every one must fit the network.

Published checkpoints are wrapped differently: some hold the entries under `state_dict`, some were
saved from `DataParallel`, which prefixes every name with `module.`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deployments.errors import InvalidWeights
from deployments.weights.dlib_file import dlib_entries
from deployments.weights.find import CONFIGURATION

_WRAPPER = "state_dict"
_PREFIX = "module."
# BatchNorm's step counter: older PyTorch did not save it, inference does not read it.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The named tensors of a checkpoint, and the `configuration.json` beside it (else empty).

    `source` is the file, for messages.
    """

    entries: Mapping[str, Tensor]
    configuration: Mapping[str, object]
    source: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint and its configuration.

    Raises what `load_entries` raises, and InvalidWeights if the configuration is no JSON object.
    """
    return Checkpoint(load_entries(path), _configuration(path.with_name(CONFIGURATION)), str(path))


def load_entries(path: Path) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors`, a `.dat` (dlib's) or a PyTorch file, on the CPU.

    Executes nothing in the file. Raises InvalidWeights for a damaged file and for a pickle of more
    than tensors and plain containers; FileNotFoundError for a missing file.
    """
    if path.suffix == ".dat":
        return dlib_entries(path)
    source = str(path)
    entries = {}
    for name, value in _named_values(_content(path), source=source).items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise InvalidWeights(
                f"{source}: entry {name!r}: expected a tensor, got {kind}", source=source
            )
        entries[str(name).removeprefix(_PREFIX)] = value.detach()
    return entries


def load_strictly(module: nn.Module, *, entries: Mapping[str, Tensor], source: str) -> None:
    """Copy `entries` into `module`. Raises InvalidWeights for the first one that does not fit.

    The module's entries are checked in their order, then `entries` for names that the module lacks;
    nothing is copied unless all fit. source: the file to name in the error.
    """
    needed = _without_counters(module.state_dict())
    found = _without_counters(entries)
    misfit = _first_misfit(needed, found)
    if misfit:
        entry, problem = misfit
        network = type(module).__name__
        raise InvalidWeights(
            f"{source} does not fit {network}: entry {entry!r} {problem}",
            source=source,
            network=network,
            entry=entry,
        )
    module.load_state_dict(found, strict=False)  # strict=True would require the counters


def _configuration(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # not UTF-8, or not JSON
        raise InvalidWeights(f"{path}: not readable as JSON: {error}", source=str(path)) from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InvalidWeights(f"{path}: expected a JSON object, got {kind}", source=str(path))
    return content


def _content(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: object = torch.load(path, map_location="cpu", weights_only=True)
        return content
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise almost any exception
        # PyTorch's message advises to load the file unchecked, so it is not repeated.
        raise InvalidWeights(
            f"{path}: damaged, or holds more than tensors ({type(error).__name__})",
            source=str(path),
        ) from error


def _named_values(content: object, *, source: str) -> Mapping[object, object]:
    if isinstance(content, Mapping):
        inner = content.get(_WRAPPER)
        return inner if isinstance(inner, Mapping) else content
    kind = type(content).__name__
    raise InvalidWeights(f"{source}: expected named tensors, got {kind}", source=source)


def _without_counters(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in entries.items() if not name.endswith(_COUNTER)}


def _first_misfit(
    needed: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[str, str] | None:
    """The name of the first entry that does not fit, and why; None if all fit."""
    for name, tensor in needed.items():
        shape = list(tensor.shape)
        if name not in found:
            return name, f"is missing, expected shape {shape}"
        if list(found[name].shape) != shape:
            return name, f"has shape {list(found[name].shape)}, expected {shape}"
    for name in found:
        if name not in needed:
            return name, "is unexpected"
    return None
