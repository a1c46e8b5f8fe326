"""RetinaFace's anchors, and the decoding of boxes and landmarks from them (arXiv 1905.00641)."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from deployments.contracts import FloatArray

STRIDES = (8, 16, 32)
SIZES = ((16, 32), (64, 128), (256, 512))  # anchor sides in pixels, by stride
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


@lru_cache(maxsize=64)
def anchors_for(height: int, width: int) -> FloatArray:
    """Anchors of an input of `height` x `width` pixels, in the order of the network's rows.

    Returns float32 [A,4]: centre x, centre y, width, height in pixels, read-only (it is cached).
    """
    levels = [_level(height, width, *level) for level in zip(STRIDES, SIZES, strict=True)]
    anchors = np.concatenate(levels)
    anchors.setflags(write=False)
    return anchors


def cell_corners(height: int, width: int) -> npt.NDArray[np.int32]:
    """Row and column, in pixels, of the upper left of each anchor's cell: int32 [A,2]."""
    levels = []
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        rows, columns = _grid(height, width, stride)
        cells = np.indices((rows, columns), np.int32).reshape(2, -1).T * stride
        levels.append(cells.repeat(len(sizes), axis=0))
    return np.concatenate(levels)


def fine_anchor_count(height: int, width: int) -> int:
    """Number of fine anchors, those of the smallest stride; they come first."""
    rows, columns = _grid(height, width, STRIDES[0])
    return rows * columns * len(SIZES[0])


def _grid(height: int, width: int, stride: int) -> tuple[int, int]:
    """Rows and columns of cells, those that reach over the edge included."""
    return -(-height // stride), -(-width // stride)


def _level(height: int, width: int, stride: int, sizes: tuple[int, ...]) -> FloatArray:
    rows, columns = _grid(height, width, stride)
    level = np.empty((rows, columns, len(sizes), 4), np.float32)
    level[..., 0] = ((np.arange(columns) + 0.5) * stride)[None, :, None]
    level[..., 1] = ((np.arange(rows) + 0.5) * stride)[:, None, None]
    level[..., 2:] = np.asarray(sizes, np.float32)[None, None, :, None]
    return level.reshape(-1, 4)


def decode_boxes(offsets: FloatArray, anchors: FloatArray) -> FloatArray:
    """Offsets float32 [N,4] against anchors [N,4] -> boxes float32 [N,4], x1 y1 x2 y2, pixels."""
    centres = anchors[:, :2] + offsets[:, :2] * CENTRE_VARIANCE * anchors[:, 2:]
    halves = anchors[:, 2:] * np.exp(offsets[:, 2:] * SIZE_VARIANCE) / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def decode_landmarks(offsets: FloatArray, anchors: FloatArray) -> FloatArray:
    """Offsets float32 [N,10] against anchors [N,4] -> landmarks float32 [N,5,2], x y, pixels."""
    points = offsets.reshape(-1, 5, 2) * CENTRE_VARIANCE
    return anchors[:, None, :2] + points * anchors[:, None, 2:]
