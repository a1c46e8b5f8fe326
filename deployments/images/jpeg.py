"""Decodes JPEG files, also those that end early."""

import re
from typing import cast

import numpy as np
import simplejpeg
from PIL import ImageFile

from deployments.contracts import ByteArray

_END_MARKER = b"\xff\xd9"
_SCAN_MARKER = b"\xff\xda"
# Starts a segment with a length: not a scan's data, a restart, the image's start or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]")
# Encoders write about ten scans, and few other segments but metadata.
_MOST_SCANS = 50
_MOST_SEGMENTS = 1000
# libjpeg's words (JWRN_HIT_MARKER) where a marker comes before all blocks have.
_ENDS_EARLY = "premature end of data segment"
_MISSING = 128  # value of all three colours in blocks that libjpeg has no data for
# Rows that may be incomplete above the first grey one: the highest MCU (4:1:0) and two more, into
# which the interpolation of its colours reaches.
_INCOMPLETE_ROWS = 34
_STRIP_ROWS = 64


def decode_jpeg(content: bytes, shape: tuple[int, int], reduction: int = 1) -> ByteArray | None:
    """Decode by simplejpeg: OpenCV's pixels, in two thirds of its time for 12 megapixels.

    shape: height and width after the reduction, 1, 2 or 4. Returns None for a file that it refuses:
    it is stricter than Pillow and image viewers.
    """
    try:
        return _decode(content, shape, reduction)
    except ValueError:
        return None


def decode_ending_early(
    content: bytes, file: ImageFile.ImageFile
) -> tuple[ByteArray, int | None] | None:
    """Decode a JPEG that lacks its end marker or its last rows, as image viewers do.

    file: the same, opened by Pillow. Returns the pixels, grey where data is missing, and the first
    row that may be incomplete, or None if all are there. Returns None for a file that has another
    fault, no complete row, or, being progressive, a scan that ends early: it is blurred all over.
    """
    ended = content + _END_MARKER
    progressive = _is_progressive(file)
    try:
        pixels = _decode(ended, (file.height, file.width))
        return None if progressive and not _has_all_scans(content, file) else (pixels, None)
    except ValueError as error:
        if progressive or _ENDS_EARLY not in str(error):
            return None
    pixels = _decode(ended, (file.height, file.width), strict=False)
    first_missing = _rows_shown(pixels) - _INCOMPLETE_ROWS
    return (pixels, first_missing) if first_missing > 0 else None


def _rows_shown(pixels: ByteArray) -> int:
    """Rows up to the last that is not grey all over; from below, strip by strip, to save memory."""
    for bottom in range(len(pixels), 0, -_STRIP_ROWS):
        strip = pixels[max(0, bottom - _STRIP_ROWS) : bottom]
        shown = np.flatnonzero((strip != _MISSING).any(axis=(1, 2)))
        if shown.size:
            return bottom - len(strip) + int(shown[-1]) + 1
    return 0


def _decode(
    content: bytes, shape: tuple[int, int], reduction: int = 1, *, strict: bool = True
) -> ByteArray:
    height, width = shape
    pixels = simplejpeg.decode_jpeg(
        content,
        "BGR",
        min_height=height,
        min_width=width,
        min_factor=reduction,
        strict=strict,
    )
    return cast(ByteArray, pixels)


def scan_headers(content: bytes, file: ImageFile.ImageFile) -> list[bytes]:
    """Return the headers of the scans that libjpeg reads, without marker and length.

    file: the same, opened by Pillow. Raises ValueError for more scans than encoders write: libjpeg
    visits every block of the picture for each scan, even one of a few bytes, so many take hours.
    """
    headers: list[bytes] = []
    at = 0
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(content, at)
        if found is None or found[0] == _END_MARKER:
            return headers
        start = found.end() + 2
        at = start + max(0, int.from_bytes(content[start - 2 : start], "big") - 2)
        if found[0] == _SCAN_MARKER:
            headers.append(content[start:at])
            if not _is_progressive(file) and headers[0][0] == len(file.getbands()):
                return headers  # it has all components, and libjpeg reads no other
        if len(headers) > _MOST_SCANS:
            break
    raise ValueError("too many scans or segments")


def _is_progressive(file: ImageFile.ImageFile) -> bool:
    return "progressive" in file.info


def _has_all_scans(content: bytes, file: ImageFile.ImageFile) -> bool:
    """True if the scans of a progressive JPEG give every coefficient to its last bit.

    libjpeg takes missing scans for a file of lower quality.
    """
    given: set[tuple[int, int]] = set()  # component, coefficient
    for header in scan_headers(content, file):
        parts, (lowest, highest, bits) = header[1:-3:2], header[-3:]
        if bits & 15 == 0:
            given |= {(part, index) for part in parts for index in range(lowest, highest + 1)}
    return len(given) == 64 * len(file.getbands())
