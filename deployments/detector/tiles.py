"""Tiles: the parts of a large photo in which small faces are looked for.

A photo is shrunk for the first pass, and small faces are lost with it. Finer levels show the photo
at larger scales, cut into overlapping tiles of one size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deployments.detector.candidates import Candidates
from deployments.detector.preprocess import NetworkInput

# Shorter side of the smallest face that the network finds reliably, in pixels of its input. Of 101
# faces of portraits and groups, shrunk to this size, it found all; at 18 pixels 97 %, at 12 45 %.
SMALLEST_FACE = 24
# Scale of a level, at most, in scales of the coarser one.
_LEVEL_FACTOR = 4.0
# Tiles overlap by a face that the coarser level may just miss, and by its surroundings.
OVERLAP = round(_LEVEL_FACTOR * SMALLEST_FACE * 1.5)
# A box that ends so near to a tile's inner edge may be cut off, in pixels of the input.
_EDGE = 2


@dataclass(frozen=True, slots=True)
class Level:
    """A photo's size at one scale, in pixels, and its tiles: left, top, width, height of each."""

    scale: float
    width: int
    height: int
    tiles: tuple[tuple[int, int, int, int], ...]


def tile_levels(
    width: int,
    height: int,
    *,
    first_scale: float,
    min_face_px: float,
    tile_side: int,
    max_tiles: int,
) -> list[Level]:
    """The levels finer than the first pass, coarsest first, for a photo of `width` x `height`.

    first_scale: the first pass's pixels per pixel of the photo. min_face_px: the smallest face to
    find, in pixels of the photo. The finest level is coarser than this asks for if all levels
    together would have more than `max_tiles` tiles.
    """
    wanted = min(1.0, SMALLEST_FACE / min_face_px)
    while wanted > first_scale:
        levels = [_level(width, height, scale, tile_side) for scale in _scales(first_scale, wanted)]
        if sum(len(level.tiles) for level in levels) <= max_tiles:
            return levels
        wanted *= 0.9
    return []


def _scales(first: float, finest: float) -> Iterator[float]:
    """Scales over `first`, up to `finest`, each at most _LEVEL_FACTOR times the one before."""
    steps = int(np.ceil(np.log(finest / first) / np.log(_LEVEL_FACTOR)))
    yield from (finest / _LEVEL_FACTOR**step for step in reversed(range(steps)))


def _level(width: int, height: int, scale: float, side: int) -> Level:
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    columns, rows = _starts(width, side), _starts(height, side)
    size = min(side, width), min(side, height)
    return Level(
        scale, width, height, tuple((left, top, *size) for top in rows for left in columns)
    )


def _starts(length: int, side: int) -> list[int]:
    """First pixels of the tiles along one axis: evenly spread, overlapping by OVERLAP or more."""
    count = max(1, int(np.ceil((length - OVERLAP) / (side - OVERLAP))))
    if count == 1:
        return [0]
    return [round(index * (length - side) / (count - 1)) for index in range(count)]


def whole_faces(found: Candidates, tile: NetworkInput, level: Level) -> Candidates:
    """The candidates of a tile that no inner edge may have cut off, and no larger than OVERLAP.

    A face at an inner edge lies whole in the neighbouring tile, or in a tile of the coarser level,
    where larger faces are found.
    """
    x1, y1, x2, y2 = found.detections.boxes.T
    bottom, right = tile.pixels.shape[:2]
    left, top = -tile.left, -tile.top
    cut = (x1 < _EDGE) & (left > 0) | (y1 < _EDGE) & (top > 0)
    cut |= (x2 > right - _EDGE) & (left + right < level.width)
    cut |= (y2 > bottom - _EDGE) & (top + bottom < level.height)
    large = np.minimum(x2 - x1, y2 - y1) > OVERLAP
    return found.select(np.flatnonzero(~cut & ~large))
