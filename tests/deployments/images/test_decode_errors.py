"""Refused images: the error of each, and the field that it names."""

import struct
import sys
import zlib
from time import perf_counter

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.errors import FaceGraphError, ImageTooLarge, InvalidImage, UnsupportedMediaType
from deployments.images.decode import read_photo
from deployments.images.formats import iso_readers
from deployments.images.pixels import require_bgr
from tests.support.colour_images import encoded, picture


def refused(
    content: bytes | ByteArray, kind: type[FaceGraphError], limits: ImageLimits | None = None
) -> FaceGraphError:
    """Decode an image that is refused. Returns the error, which must name the field."""
    with pytest.raises(kind) as caught:
        read_photo(Photo("target", content), limits or ImageLimits())
    assert caught.value.details["field"] == "target"
    assert caught.value.message.startswith("target: ")
    return caught.value


def noise() -> Image.Image:
    """An image that does not compress, so that every part of its file matters."""
    pixels = np.random.RandomState(0).randint(0, 256, (48, 64, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("part", [0.001, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "content",
    [
        encoded(noise(), "JPEG", progressive=True),
        encoded(noise().convert("CMYK"), "JPEG"),
        encoded(noise(), "PNG"),
        encoded(noise().convert("RGBA"), "PNG"),
        encoded(noise(), "WEBP"),
        encoded(noise(), "BMP"),
        encoded(noise(), "HEIF"),
        encoded(noise(), "AVIF"),
    ],
    ids=["progressive", "CMYK", "PNG", "RGBA", "WebP", "BMP", "HEIC", "AVIF"],
)
def test_a_cut_off_image_is_invalid_wherever_it_ends(content: bytes, part: float) -> None:
    """A JPEG that is not progressive is taken up to where it ends: see test_cut_off.py."""
    refused(content[: int(len(content) * part)], InvalidImage)


def test_an_empty_file_is_called_empty() -> None:
    assert refused(b"", InvalidImage).message == "target: the image is empty"


@pytest.mark.parametrize(
    "content", [b"Dear reader,\nthis is no photo.\n" * 20, b"\0" * 1000, b"\xff"]
)
def test_a_file_that_is_no_image_is_invalid(content: bytes) -> None:
    message = refused(content, InvalidImage).message
    assert message == "target: not a readable JPEG, PNG, WebP or BMP image"


def iso_file(brand: bytes) -> bytes:
    """The start of an ISO media file, and nothing in it."""
    return b"\0\0\0\x18ftyp" + brand + bytes(4) + brand + b"hevc" + bytes(100)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (encoded(picture(), "GIF"), "GIF"),
        (encoded(picture(), "TIFF"), "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "XML"),
        (b"II+\0\x08\0\0\0\0\0", "TIFF"),
        (b"\xff\x0a" + bytes(100), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (iso_file(b"hevc"), "a sequence of HEIC images"),
        (iso_file(b"msf1"), "a sequence of HEIF images"),
        (encoded(picture(), "JPEG2000"), "JPEG 2000"),
        (encoded(picture(), "ICO"), "ICO"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_a_format_that_is_not_served_is_called_by_its_name(content: bytes, name: str) -> None:
    message = refused(content, UnsupportedMediaType).message
    assert message == f"target: {name} is not served; send JPEG, PNG, WebP or BMP"


@pytest.mark.parametrize(
    ("brand", "name"),
    [(b"heic", "HEIC"), (b"heix", "HEIC"), (b"hevc", "HEIC"), (b"mif1", "HEIF"), (b"avif", "AVIF")],
)
def test_without_pillow_heif_the_error_says_what_to_install(
    brand: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(iso_file(b"heic"), InvalidImage).message == "target: not a readable HEIC image"
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    iso_readers.cache_clear()
    message = refused(iso_file(brand), UnsupportedMediaType).message
    iso_readers.cache_clear()
    assert message == (
        f"target: {name} is not served here: where the graph runs, it needs FaceGraph's extra heif;"
        " send JPEG, PNG, WebP or BMP"
    )


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_a_file_that_hides_its_size_in_its_header_is_refused_or_small(format: str) -> None:
    """HEIC and AVIF state the size in a box of their own, beside the video decoder's data."""
    content = encoded(Image.new("RGB", (800, 600), "grey"), format)
    size_at = content.index(b"ispe") + 8
    hidden = content[:size_at] + struct.pack(">II", 64, 48) + content[size_at + 8 :]
    limits = ImageLimits(max_pixels=64 * 48)
    assert refused(content, ImageTooLarge, limits).details["max_pixels"] == 3072
    if format == "HEIF":
        refused(hidden, InvalidImage, limits)
    else:
        assert read_photo(Photo("target", hidden), limits).shape == (48, 64, 3)


def test_a_file_with_too_many_bytes_is_refused_with_both_numbers() -> None:
    content = encoded(noise(), "BMP")
    limits = ImageLimits(max_bytes=len(content) - 1)
    error = refused(content, ImageTooLarge, limits)
    assert error.message == f"target: {len(content)} bytes, at most {len(content) - 1} are taken"
    assert error.details["max_bytes"] == len(content) - 1
    at_the_limit = ImageLimits(max_bytes=len(content))
    assert read_photo(Photo("target", content), at_the_limit).shape == (48, 64, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "HEIF", "AVIF"])
def test_an_image_with_too_many_pixels_is_refused_with_its_size(format: str) -> None:
    content = encoded(picture(), format)
    error = refused(content, ImageTooLarge, ImageLimits(max_pixels=48 * 32 - 1))
    assert error.message == "target: 48 x 32 pixels, at most 1535 are taken"
    assert error.details["max_pixels"] == 1535
    at_the_limit = ImageLimits(max_pixels=48 * 32)
    assert read_photo(Photo("target", content), at_the_limit).shape == (32, 48, 3)


def giant() -> bytes:
    """A whole PNG of 8,000 x 8,000 grey pixels: 0.1 MB as a file, 64 MB decoded."""
    small = encoded(Image.new("L", (1, 1)), "PNG")
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(8001)) for _ in range(8000)) + packer.flush()
    header = (8000).to_bytes(4, "big") * 2 + small[24:29]
    return small[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    content = giant()
    assert len(content) < 100_000
    begun = perf_counter()
    for _ in range(10):
        refused(content, ImageTooLarge)
    refusing_s = (perf_counter() - begun) / 10
    begun = perf_counter()
    pixels = read_photo(Photo("target", content), ImageLimits(max_pixels=8000 * 8000))
    decoding_s = perf_counter() - begun
    assert pixels.shape == (8000, 8000, 3)
    assert refusing_s * 10 < decoding_s


@pytest.mark.parametrize("kind", ["progressive", "arithmetic"])
def test_a_jpeg_with_more_scans_than_encoders_write_is_refused(kind: str) -> None:
    """Each scan takes libjpeg the time of a whole picture, though it may have but a few bytes."""
    *others, last = progressive_parts() if kind == "progressive" else arithmetic_parts()
    for count in (1, 30):
        content = b"".join(others) + last * count + b"\xff\xd9"
        assert read_photo(Photo("target", content), ImageLimits()).any()
    error = refused(b"".join(others) + last * 60 + b"\xff\xd9", InvalidImage)
    assert error.message == "target: the JPEG image is truncated or damaged"


def progressive_parts() -> tuple[bytes, bytes]:
    """A progressive JPEG up to its last scan's Huffman table, and the rest."""
    content = encoded(noise(), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xc4")
    return content[:at], content[at:-2]


def arithmetic_parts() -> tuple[bytes, ...]:
    """A sequential JPEG with arithmetic coding, which packs a scan of any size into few bytes."""
    size = struct.pack(">BHHB", 8, 64, 64, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    header = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC9, size)
    scans = [segment(0xDA, bytes([1, part, 0, 0, 63, 0])) + bytes(8) for part in (1, 2, 3)]
    return header, *scans


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (np.zeros((20, 30), np.uint8), "uint8 (20, 30)"),
        (np.zeros((20, 30, 4), np.uint8), "uint8 (20, 30, 4)"),
        (np.zeros((3, 20, 30), np.uint8), "uint8 (3, 20, 30)"),
        (np.zeros((1, 20, 30, 3), np.uint8), "uint8 (1, 20, 30, 3)"),
        (np.zeros((0, 30, 3), np.uint8), "uint8 (0, 30, 3)"),
        (np.zeros((20, 30, 3), np.float32), "float32 (20, 30, 3)"),
        (np.zeros((20, 30, 3), np.int64), "int64 (20, 30, 3)"),
    ],
)
def test_an_array_of_another_shape_or_kind_is_refused_saying_what_came(
    pixels: NDArray[np.uint8], got: str
) -> None:
    message = refused(pixels, InvalidImage).message
    assert message == f"target: expected uint8 (H, W, 3) BGR, got {got}"
    with pytest.raises(InvalidImage, match="image: expected") as caught:
        require_bgr(pixels)
    assert caught.value.details == {"field": "image"}


def test_an_array_with_too_many_pixels_is_refused() -> None:
    error = refused(np.zeros((40, 50, 3), np.uint8), ImageTooLarge, ImageLimits(max_pixels=1999))
    assert error.message == "target: 50 x 40 pixels, at most 1999 are taken"


def test_a_damaged_image_of_a_known_format_is_called_by_its_format() -> None:
    content = encoded(noise(), "PNG")
    broken = content[:60] + bytes(len(content) - 60)
    assert refused(broken, InvalidImage).message == "target: the PNG image is truncated or damaged"
