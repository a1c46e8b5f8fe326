"""Reads dlib's face recognition network from the file that dlib serialised it to.

dlib writes the layers in the order in which they compute. Each begins with its name and has its
parameters as a tensor: a version, four sizes, then float32 in little-endian order. A whole number
is a byte with its length and then its bytes, little-endian, a bit of the first being its sign.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deployments.contracts import FloatArray
from deployments.errors import InvalidWeights

_START = b"loss_metric"
# Layers with parameters: a convolution and its scales and shifts, and the last product.
_CONVOLUTION, _AFFINE, _PRODUCT = b"con_4", b"affine_", b"fc_2"
# Bytes between a layer's parameters and the next layer's name: settings of both.
_BETWEEN = 4096
_TENSOR_VERSION = 2
_STEM_SIZE, _UNIT_SIZE = 7, 3
_UNITS = 14
_EMBEDDING_SIZE = 128


def dlib_entries(path: Path) -> dict[str, Tensor]:
    """The entries of `DlibResNet`, the scales and shifts computed into the convolutions.

    Raises InvalidWeights for another file or a damaged one, FileNotFoundError for none.
    """
    reader = _Reader(path.read_bytes(), source=str(path))
    entries: dict[str, Tensor] = {}
    for name, size in _convolutions():
        filters, shifts = _convolution(reader, size)
        entries[f"{name}.weight"] = torch.from_numpy(filters)
        entries[f"{name}.bias"] = torch.from_numpy(shifts)
    product = reader.parameters(_PRODUCT, settings=2).reshape(-1, _EMBEDDING_SIZE)
    entries["fc.weight"] = torch.from_numpy(np.ascontiguousarray(product.T))
    return entries


def _convolutions() -> Iterator[tuple[str, int]]:
    """Name and side of each convolution, in order."""
    yield "stem", _STEM_SIZE
    for unit in range(_UNITS):
        for part in (1, 2):
            yield f"body.{unit}.conv{part}", _UNIT_SIZE


def _convolution(reader: "_Reader", size: int) -> tuple[FloatArray, FloatArray]:
    """The next convolution with its scales and shifts: float32 [out,in,size,size] and [out]."""
    parameters = reader.parameters(_CONVOLUTION)
    scales, shifts = reader.parameters(_AFFINE).reshape(2, -1)
    count = len(scales)
    filters = parameters[:-count].reshape(count, -1, size, size)
    return filters * scales[:, None, None, None], parameters[-count:] * scales + shifts


class _Reader:
    """Reads a file from its beginning on."""

    def __init__(self, content: bytes, *, source: str) -> None:
        self._content = content
        self._source = source
        self._at = 0
        self._find(_START)

    def parameters(self, layer: bytes, *, settings: int = 0) -> FloatArray:
        """The parameters of the next layer, which must have this name: float32 [P].

        settings: whole numbers before them.
        """
        self._find(layer)
        version, *sizes = [self._whole_number() for _ in range(settings + 5)][settings:]
        count = int(np.prod(sizes))
        end = self._at + 4 * count
        if version != _TENSOR_VERSION or count <= 0 or end > len(self._content):
            raise self._damaged(layer)
        values = np.frombuffer(self._content, "<f4", count, self._at)
        self._at = end
        return values.astype(np.float32)

    def _find(self, name: bytes) -> None:
        found = self._content.find(name, self._at, self._at + _BETWEEN)
        if found < 0:
            raise self._damaged(name)
        self._at = found + len(name)

    def _whole_number(self) -> int:
        length = self._content[self._at] if self._at < len(self._content) else 0
        start, self._at = self._at + 1, self._at + 1 + length
        return int.from_bytes(self._content[start : self._at], "little")

    def _damaged(self, layer: bytes) -> InvalidWeights:
        return InvalidWeights(
            f"{self._source}: not dlib's face recognition network, or damaged: no {layer.decode()}"
            f" with parameters near byte {self._at}",
            source=self._source,
        )
