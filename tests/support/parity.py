"""Parity data: stand-in weights and photos, and the published networks' outputs for them.

The stand-ins are deterministic and the same on every machine. Each entry of a checkpoint is drawn
from a generator seeded with the checksum of its name, so that name and shape determine the numbers.
`tests/data/parity` lists the published entries (`<network>.json`) and holds the outputs of the
published networks with these stand-ins (`expected.npz`).
"""

import json
from collections.abc import Iterable
from functools import cache
from math import prod, sqrt
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_PARITY = Path(__file__).parents[1] / "data" / "parity"


def difference(answer: NDArray[np.float32], name: str) -> float:
    """The largest difference from a recorded output, such as `rts_irse64.score`."""
    expected = answers()[name]
    assert answer.shape == expected.shape, f"{name}: {answer.shape}, expected {expected.shape}"
    return float(np.abs(answer - expected).max())


@cache
def answers() -> dict[str, NDArray[np.float32]]:
    """The recorded outputs of the published networks, by name."""
    with np.load(_PARITY / "expected.npz") as stored:
        return {name: stored[name] for name in stored.files}


def chips() -> Tensor:
    """The recognizers' input: three chips, float32 [3, 3, 112, 112], RGB in -1..1."""
    pixels = np.stack([photo(112, 112, seed=seed) for seed in range(3)])[..., ::-1]
    return _planes((pixels / 255 - 0.5) / 0.5)


def scene() -> Tensor:
    """The detector's input: a photo, float32 [1, 3, 256, 320], BGR minus the means."""
    return _planes(photo(256, 320)[None] - np.array([104.0, 117.0, 123.0]))


def published_shapes(network: str) -> list[tuple[str, list[int]]]:
    """Names and shapes of a published checkpoint's entries, in the order of its file."""
    return [tuple(entry) for entry in json.loads((_PARITY / f"{network}.json").read_text())]


def published_entries(network: str) -> dict[str, Tensor]:
    """Stand-in weights for a published checkpoint."""
    return _drawn(published_shapes(network))


def shapes_of(module: nn.Module) -> list[tuple[str, list[int]]]:
    """Names and shapes of the module's entries, in order."""
    return [(name, list(entry.shape)) for name, entry in module.state_dict().items()]


def entries_for(module: nn.Module) -> dict[str, Tensor]:
    """Stand-in weights for every entry that `module` has."""
    return _drawn(shapes_of(module))


def photo(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [height, width, 3], BGR: a coarse grid of random colours, blended linearly."""
    random = np.random.RandomState(seed + 1)
    grid = random.uniform(0, 255, (height // 8 + 2, width // 8 + 2, 3))
    return _stretched(_stretched(grid, width, axis=1), height, axis=0).astype(np.uint8)


def _planes(images: NDArray[np.float64]) -> Tensor:
    """[B, H, W, C] to float32 [B, C, H, W]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C"))


def _drawn(shapes: Iterable[tuple[str, list[int]]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(_draw(name, shape)) for name, shape in shapes}


def _draw(name: str, shape: list[int]) -> NDArray[np.float32] | NDArray[np.int64]:
    random = np.random.RandomState(crc32(name.encode()))
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if kind == "running_var":
        drawn = random.uniform(0.8, 1.2, shape)
    elif kind in ("running_mean", "bias"):
        drawn = 0.05 * random.standard_normal(shape)
    elif len(shape) == 1:  # a BatchNorm scale or PReLU slopes
        drawn = random.uniform(0.3, 0.6, shape)
    else:  # the scale keeps the variance through ReLU layers (He et al., 2015)
        drawn = random.standard_normal(shape) * sqrt(2 / prod(shape[1:]))
    return np.asarray(drawn, dtype=np.float32)


def _stretched(grid: NDArray[np.float64], size: int, *, axis: int) -> NDArray[np.float64]:
    """`grid` resampled to `size` places along `axis`, ending just short of its last cell."""
    places = np.linspace(0, grid.shape[axis] - 1.001, size)
    before = np.floor(places).astype(int)
    after_share = np.expand_dims(places - before, axis=tuple({0, 1, 2} - {axis}))
    first, second = np.take(grid, before, axis=axis), np.take(grid, before + 1, axis=axis)
    blended: NDArray[np.float64] = first * (1 - after_share) + second * after_share
    return blended
