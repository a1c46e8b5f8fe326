"""JPEG files that end early: decoded as viewers show them, unless a face is missing."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.errors import InvalidImage
from deployments.images.decode import DecodedImage, read_image
from tests.support.colour_images import encoded
from tests.support.photos import GDP, photo, photo_bytes

END_MARKER = b"\xff\xd9"
FACES = np.asarray([[10, 20, 50, 80], [200, 300, 260, 380]], np.float32)
# Two rows of 4:2:0 blocks and two more rows, at most, count as missing before the first grey one.
UNSURE = 34


def read(content: bytes) -> DecodedImage:
    return read_image(
        Photo("target", content), ImageLimits(), needed_side=lambda longer: min(longer, 40)
    )


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    """A photo of 500 x 665 pixels."""
    return encoded(Image.fromarray(photo(GDP)[..., ::-1]).convert(mode), "JPEG", **options)


KINDS: dict[str, bytes] = {
    "4:2:0": jpeg(subsampling=2),
    "4:4:4": jpeg(subsampling=0),
    "grey": jpeg("L"),
    "restart markers": jpeg(restart_marker_rows=1),
    "Huffman tables of its own": jpeg(optimize=True),
}


@pytest.mark.parametrize("content", [*KINDS.values(), jpeg(progressive=True)])
def test_a_jpeg_without_its_end_marker_is_whole(content: bytes) -> None:
    assert content.endswith(END_MARKER)
    whole = read_at_full_size(content)
    for cut in (1, 2):
        found = read(content[:-cut])
        assert found.missing is None
        assert (found.pixels == whole).all()


def test_metadata_between_the_scans_of_a_progressive_jpeg_count_as_no_scans() -> None:
    content = jpeg(progressive=True)
    comment = b"\xff\xfe\x01\x02" + b"\xff\xda" * 128
    last = content.rindex(b"\xff\xc4")
    found = read(content[:last] + comment + content[last : -len(END_MARKER)])
    assert (found.pixels == read_at_full_size(content)).all()


def read_at_full_size(content: bytes) -> ByteArray:
    return read_image(Photo("target", content), ImageLimits(), needed_side=lambda side: side).pixels


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
@pytest.mark.parametrize("after", [b"", END_MARKER])
def test_a_cut_jpeg_is_shown_up_to_the_rows_that_are_missing(
    content: bytes, part: float, after: bytes
) -> None:
    whole = read_at_full_size(content)
    found = read(content[: int(len(content) * part)] + after)
    assert found.missing is not None
    left, top, right, bottom = found.missing
    assert (left, right, bottom) == (0, 500, 665)
    assert (found.pixels[:top] == whole[:top]).all()
    correct = (found.pixels == whole).all(axis=(1, 2))
    assert 0 <= int(np.argmin(correct)) - top <= UNSURE  # no more is given up than needed
    assert (found.width, found.height, found.reduction) == (500, 665, 1)


PLACES: dict[int, Callable[[int], tuple[int, int, int, int]]] = {
    1: lambda top: (0, top, 500, 665),
    3: lambda top: (0, 0, 500, 665 - top),
    6: lambda top: (0, 0, 665 - top, 500),
    8: lambda top: (top, 0, 665, 500),
}


@pytest.mark.parametrize("orientation", PLACES)
def test_the_missing_part_is_where_the_turned_photo_has_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright, turned = jpeg(), jpeg(exif=exif)
    missing = len(upright) // 3
    first = read(upright[:-missing]).missing
    assert first is not None
    assert read(turned[:-missing]).missing == PLACES[orientation](first[1])


def test_a_face_is_refused_only_if_it_reaches_into_the_missing_part() -> None:
    pixels = photo(GDP)
    for missing in ((0, 400, 500, 665), (300, 0, 500, 665), (0, 0, 500, 10), None):
        DecodedImage(pixels, 500, 665, missing=missing).require_shown(FACES, field="target")
    for missing in ((0, 79, 500, 665), (259, 0, 500, 665), (0, 0, 500, 21)):
        image = DecodedImage(pixels, 500, 665, missing=missing)
        with pytest.raises(InvalidImage, match="target: the JPEG image is cut off, and a face"):
            image.require_shown(FACES, field="target")
        image.require_shown(FACES[:0], field="target")


def progressive_cuts() -> list[bytes]:
    """A progressive JPEG cut inside its scans, and exactly after each but the last."""
    content = jpeg(progressive=True)
    scans = [at for at in range(len(content)) if content.startswith(b"\xff\xda", at)]
    assert len(scans) >= 6
    # A scan's Huffman table comes before it, after the end of the former scan.
    ends = [content.rfind(b"\xff\xc4", 0, at) for at in scans[1:]]
    return [content[: int(len(content) * part)] for part in (0.2, 0.5, 0.9, 0.99)] + [
        content[:end] for end in ends
    ]


@pytest.mark.parametrize("content", progressive_cuts())
def test_a_progressive_jpeg_that_is_cut_is_refused_since_all_of_it_is_blurred(
    content: bytes,
) -> None:
    with pytest.raises(InvalidImage, match="target: the JPEG image is truncated or damaged"):
        read(content)
    assert Image.open(io.BytesIO(content)).size == (500, 665)


def test_a_cut_photo_with_nothing_to_be_seen_is_damaged() -> None:
    content = photo_bytes(GDP)
    start = content.index(b"\xff\xda") + 20
    with pytest.raises(InvalidImage, match="truncated or damaged"):
        read(content[:start])
