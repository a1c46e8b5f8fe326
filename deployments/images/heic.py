"""The pixels that libheif decodes for a HEIC file, of which neither size tells.

A photo may be derived from others, mostly as a grid of tiles. libheif decodes a tile once for each
reference to it, also where it lies outside the photo. Boxes by ISO/IEC 14496-12 and 23008-12.
"""

import io
from collections import defaultdict
from collections.abc import Iterator

_META_FLAGS = 4  # bytes before the boxes in the box `meta`, and in `iref`
_MOST_LEVELS = 8  # of images derived from derived ones


def decoded_pixels(content: bytes) -> int:
    """Return the most pixels that decoding one of the file's images takes, its parts included.

    Raises ValueError for an image that is derived from itself.
    """
    meta = [box for whole in _boxes(content, b"meta") for box in _all_boxes(whole[_META_FLAGS:])]
    sizes: defaultdict[int, int] = defaultdict(int)
    parts: defaultdict[int, list[int]] = defaultdict(list)
    for kind, box in meta:
        if kind == b"iprp":
            for item, size in _sizes(box):
                sizes[item] = max(sizes[item], size)
        elif kind == b"iref":
            for item, part in _derivations(box):
                parts[item].append(part)
    totals: dict[int, int] = {}

    def total(item: int, level: int = 0) -> int:
        if level > _MOST_LEVELS:
            raise ValueError("images are derived from each other")
        if item not in totals:
            totals[item] = sizes[item] + sum(total(part, level + 1) for part in parts[item])
        return totals[item]

    return max(map(total, {*sizes, *parts}), default=0)


def _sizes(properties: bytes) -> Iterator[tuple[int, int]]:
    """Items and their width x height."""
    sizes = [0]  # indexes count from 1
    for container in _boxes(properties, b"ipco"):
        for kind, box in _all_boxes(container):
            is_size = kind == b"ispe"
            sizes.append(_number(box[4:8]) * _number(box[8:12]) if is_size else 0)
    for table in map(io.BytesIO, _boxes(properties, b"ipma")):
        version, *_, flags = table.read(4)
        id_bytes, index_bytes = (4 if version else 2), (2 if flags & 1 else 1)
        most = (1 << 8 * index_bytes - 1) - 1  # the bit above says that the property is essential
        for _ in range(_number(table.read(4))):
            item = _number(table.read(id_bytes))
            for _ in range(table.read(1)[0]):
                yield item, sizes[_number(table.read(index_bytes)) & most]


def _derivations(references: bytes) -> Iterator[tuple[int, int]]:
    """Derived items, each with an item that it is derived from."""
    id_bytes = 4 if references[0] else 2
    for table in map(io.BytesIO, _boxes(references[_META_FLAGS:], b"dimg")):
        item = _number(table.read(id_bytes))
        for _ in range(_number(table.read(2))):
            yield item, _number(table.read(id_bytes))


def _boxes(content: bytes, wanted: bytes) -> Iterator[bytes]:
    return (box for kind, box in _all_boxes(content) if kind == wanted)


def _all_boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes' types and contents."""
    at = 0
    while at + 8 <= len(content):
        size, start = _number(content[at : at + 4]), at + 8
        if size == 1:
            size, start = _number(content[start : start + 8]), start + 8
        end = at + size if size else len(content)
        if end < start:
            raise ValueError("a box without a size")
        yield content[at + 4 : at + 8], content[start:end]
        at = end


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "big")
