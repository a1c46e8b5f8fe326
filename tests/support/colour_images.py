"""Images of four known colours, and checks of the decoded pixels."""

import io
import struct

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, PngImagePlugin
from pillow_heif import register_heif_opener

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.images.decode import read_photo

register_heif_opener()  # `encoded` writes HEIC by it

Colour = tuple[int, int, int]

RED, GREEN, BLUE, YELLOW = (220, 40, 30), (40, 200, 60), (30, 60, 210), (240, 230, 40)  # RGB
WHITE = (255, 255, 255)
PLAIN = [RED, GREEN, BLUE, YELLOW]
WIDTH, HEIGHT = 48, 32


def picture(colours: ArrayLike = PLAIN) -> Image.Image:
    """48 x 32 pixels, RGB or grey, in four quarters of one value each: two above, two below."""
    four = np.asarray(colours, np.uint8).reshape(2, 2, -1)
    pixels = four.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)
    return Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)


def with_alpha(alpha: int) -> Image.Image:
    return picture([(*colour, alpha) for colour in PLAIN])


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_with_xmp(xmp: bytes) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return encoded(picture(), "PNG", pnginfo=texts)


def bmp_with_alpha(alpha: int) -> bytes:
    """A BMP of 32 bits whose header (BITMAPV4HEADER) says that the fourth byte is alpha."""
    rows = np.asarray(with_alpha(alpha))[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 48, 32, 1, 32, 3, len(rows), 0, 0, 0, 0)
    header += masks + bytes(108 - len(header) - len(masks))
    return b"BM" + struct.pack("<IHHI", 122 + len(rows), 0, 0, 122) + header + rows


def decoded(content: bytes) -> ByteArray:
    pixels = read_photo(Photo("image", content), ImageLimits())
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels


def quarters(pixels: ByteArray) -> list[list[int]]:
    """The RGB colours in the middle of each quarter: the two above, then the two below."""
    height, width = pixels.shape[:2]
    rows, columns = np.ix_((height // 4, 3 * height // 4), (width // 4, 3 * width // 4))
    colours: list[list[int]] = pixels[rows, columns, ::-1].reshape(4, 3).tolist()
    return colours


def check(content: bytes, colours: ArrayLike, *, tolerance: int = 0) -> None:
    """Assert that the file has 48 x 32 pixels of these colours, RGB or grey."""
    pixels = decoded(content)
    assert pixels.shape[:2] == (HEIGHT, WIDTH)
    expected = np.asarray(colours).reshape(4, -1)
    np.testing.assert_allclose(quarters(pixels), np.broadcast_to(expected, (4, 3)), atol=tolerance)
