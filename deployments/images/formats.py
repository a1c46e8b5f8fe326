"""The formats of image files: those that are read, and the names of those that are not."""

import io
from collections.abc import Callable
from functools import cache

from PIL import AvifImagePlugin, Image, ImageFile, features

from deployments.errors import InvalidImage, UnsupportedMediaType

# Pillow calls a JPEG file with several images, as phones write them, MPO.
FORMATS = {
    "JPEG": "JPEG",
    "MPO": "JPEG",
    "PNG": "PNG",
    "WEBP": "WebP",
    "BMP": "BMP",
    "HEIF": "HEIC",
    "AVIF": "AVIF",
}
_READERS = ("JPEG", "PNG", "WEBP", "BMP")
_SEND = "send JPEG, PNG, WebP or BMP"
# Formats that are not read, by their files' first bytes, for a clearer error than "unreadable".
_FOREIGN = {
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"\x00\x00\x01\x00": "ICO",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}
# ISO media files by the brand at byte 8. The brands of sequences (hevc to hevs, avis, msf1) are
# also written into files that hold a still image, which is read.
_ISO_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "HEIC"),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIF"),
}
_SEQUENCES = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")
# Bytes at a file's start that tell its format; Pillow's readers ask for as many.
HEAD_BYTES = 16


def open_image(content: bytes, field: str) -> ImageFile.ImageFile:
    """Open an image file without decoding its pixels.

    Raises UnsupportedMediaType for a known format that is not read, else InvalidImage.
    """
    if not content:
        raise InvalidImage(f"{field}: the image is empty", field=field)
    brand = _iso_brand(content)
    name = _ISO_BRANDS.get(brand)
    readers = iso_readers() if name else _READERS
    if name and not readers:
        raise UnsupportedMediaType(
            f"{field}: {name} is not served here: where the graph runs, it needs FaceGraph's extra"
            f" heif; {_SEND}",
            field=field,
        )
    try:
        return Image.open(io.BytesIO(content), formats=readers)
    except Exception as error:  # Pillow raises exceptions of any type on a broken header
        foreign = f"a sequence of {name} images" if brand in _SEQUENCES else foreign_name(content)
        if foreign:
            raise UnsupportedMediaType(
                f"{field}: {foreign} is not served; {_SEND}", field=field
            ) from error
        raise InvalidImage(
            f"{field}: not a readable {name or 'JPEG, PNG, WebP or BMP'} image", field=field
        ) from error


def starts_image(head: bytes) -> bool:
    """Tell whether a file that starts with `head`, its first HEAD_BYTES, has a format of FORMATS.

    HEIC and AVIF count as such without the package that reads them.
    """
    return _iso_brand(head) in _ISO_BRANDS or any(accepts(head) for accepts in _signatures())


def foreign_name(content: bytes) -> str | None:
    """The name of a format that is not read, by a file's first bytes; None if it has no name."""
    return next((name for magic, name in _FOREIGN.items() if content.startswith(magic)), None)


def _iso_brand(content: bytes) -> bytes:
    return content[8:12] if content[4:8] == b"ftyp" else b""


@cache
def _signatures() -> tuple[Callable[[bytes], bool | str], ...]:
    """The first test of each of Pillow's readers, by a file's first bytes."""
    Image.init()
    tests = (Image.OPEN[reader][1] for reader in _READERS)
    return tuple(test for test in tests if test)


@cache
def iso_readers() -> tuple[str, ...]:
    """Pillow's readers of HEIC and AVIF, none without the package pillow-heif.

    Pillow reads AVIF by itself; the extra switches both on, as both bring a video decoder. One
    thread decodes an image, as in the other formats.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return ()
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return ("HEIF", "AVIF") if features.check("avif") else ("HEIF",)
