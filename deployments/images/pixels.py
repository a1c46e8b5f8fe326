"""From Pillow's pictures and arrays of any kind to pixels uint8 [H,W,3] BGR."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from deployments.contracts import ByteArray
from deployments.errors import InvalidImage

TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_XMP = ("xmp", "XML:com.adobe.xmp")  # Pillow's names of XMP data in JPEG and in PNG
# Pixels of a Pillow picture that are converted at a time: whole intermediate pictures would take
# many times the memory.
_STRIP_PIXELS = 1 << 20
# Depths of cameras whose samples are stored in 16 bits, not scaled up to them.
_UNSCALED_DEPTHS = (8, 10, 12)
_TAKEN = "uint8 (H, W, 3) BGR; also grey or BGRA, and uint16, bool or float from 0 to 1"


def require_bgr(image: npt.NDArray[np.generic], *, field: str = "image") -> ByteArray:
    """The array itself, uint8 [H,W,3] BGR. Raises InvalidImage with the shape and dtype found."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidImage(
            f"{field}: expected uint8 (H, W, 3) BGR, got {image.dtype} {image.shape}", field=field
        )
    return cast(ByteArray, image)


def bgr_from_array(array: npt.NDArray[Any], *, field: str = "image") -> ByteArray:
    """Convert an array, [H,W] or [H,W,1] grey, [H,W,3] BGR or [H,W,4] BGRA.

    uint8 is taken as it is, uint16 as `shift_to_8_bits` says, bool as black and white, floats from
    0 to 1. Alpha is laid over white, unless it is 0 everywhere: screen captures leave it empty.
    Raises InvalidImage for any other array.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise _unclear(array, field)
    samples = np.ascontiguousarray(_as_8_bits(array, field))
    if channels == 1:
        return cast(ByteArray, cv2.cvtColor(samples, cv2.COLOR_GRAY2BGR))
    if channels == 3:
        return samples
    if not samples[..., 3].any():
        return cast(ByteArray, cv2.cvtColor(samples, cv2.COLOR_BGRA2BGR))
    return stored_pixels(Image.fromarray(cv2.cvtColor(samples, cv2.COLOR_BGRA2RGBA)))


def bgr_from_picture(picture: Image.Image, *, field: str = "image") -> ByteArray:
    """Convert a Pillow picture of any mode; the EXIF orientation that it carries is applied.

    Raises InvalidImage for a picture that cannot be decoded or whose range is unclear.
    """
    try:
        pixels = stored_pixels(picture)
    except Exception as error:  # Pillow raises exceptions of any type on a broken file
        raise InvalidImage(
            f"{field}: cannot convert the PIL picture of mode {picture.mode}: {error}", field=field
        ) from error
    return upright(pixels, exif_orientation(picture))


def stored_pixels(picture: Image.Image) -> ByteArray:
    """Decode and convert a picture, not turned. Raises what Pillow raises, and ValueError."""
    picture.load()
    convert = _converter(picture)
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    top = 0
    for strip in _strips(picture):
        pixels[top : top + strip.height] = convert(strip)
        top += strip.height
    return pixels


def exif_orientation(picture: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; other values change nothing.

    One in XMP alone is ignored, as browsers, phones and OpenCV do; Pillow's own `getexif` takes it.
    """
    try:
        # A bare picture: a PNG file's own `getexif` decodes the whole image if there is no EXIF.
        bare = Image.Image()
        bare.info = {name: value for name, value in picture.info.items() if name not in _XMP}
        return int(bare.getexif().get(_ORIENTATION, 1))
    except Exception:  # like a viewer, which shows a photo with a broken EXIF block unturned
        return 1


def upright(pixels: ByteArray, orientation: int) -> ByteArray:
    """Turn and mirror by EXIF orientation 1 to 8; other values change nothing."""
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def shift_to_8_bits(brightest: int) -> int:
    """Bits by which to shift 16-bit samples down, for a picture with this brightest sample.

    Cameras write 10 or 12 bits into the lower ones of 16, which viewers show almost black. So a
    picture whose upper bits are all empty is brightened. A photo that is truly so dark keeps
    more of its detail in that way, and a face in it stays the same face.
    """
    return next((bits for bits in _UNSCALED_DEPTHS if brightest < 1 << bits), 16) - 8


def _as_8_bits(array: npt.NDArray[Any], field: str) -> ByteArray:
    if array.dtype == np.uint8:
        scaled = array
    elif array.dtype == np.bool_:
        scaled = array * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        scaled = np.empty(array.shape, np.uint8)  # at once: 16 bits in between take more memory
        shift = shift_to_8_bits(int(array.max()))
        np.right_shift(array, shift, out=scaled, casting="unsafe")
    elif array.dtype.kind == "f" and _lies_in_0_to_1(array):
        scaled = array * 255 + 0.5
    else:
        raise _unclear(array, field)
    return scaled.astype(np.uint8, copy=False)


def _unclear(array: npt.NDArray[Any], field: str) -> InvalidImage:
    found = f"{array.dtype} {array.shape}"
    if array.dtype.kind == "f" and array.size:
        found += f" from {array.min():g} to {array.max():g}"
    return InvalidImage(f"{field}: expected {_TAKEN}; got {found}", field=field)


def _lies_in_0_to_1(values: npt.NDArray[Any]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)  # false for NaN


def _strips(picture: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        yield picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _converter(picture: Image.Image) -> Callable[[Image.Image], ByteArray]:
    """The conversion of each strip of the picture. Raises ValueError for an unclear range."""
    if picture.mode[0] in "IF":  # I;16 and, from older PNGs and TIFF, I: 16-bit grey; F: floats
        return _grey_converter(picture)
    if picture.has_transparency_data and not _has_empty_alpha(picture):
        return _over_white
    return _opaque


def _grey_converter(picture: Image.Image) -> Callable[[Image.Image], ByteArray]:
    extrema = [(part.min(), part.max()) for part in map(np.asarray, _strips(picture))]
    lowest, highest = min(low for low, _ in extrema), max(high for _, high in extrema)
    limit = 1 if picture.mode == "F" else 65535
    if not (lowest >= 0 and highest <= limit):
        raise ValueError(f"expected values from 0 to {limit}, got {lowest:g} to {highest:g}")
    shift = 0 if picture.mode == "F" else shift_to_8_bits(int(highest))

    def convert(strip: Image.Image) -> ByteArray:
        values = np.asarray(strip)
        grey = values * 255 + 0.5 if picture.mode == "F" else values >> shift
        return cast(ByteArray, cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR))

    return convert


def _has_empty_alpha(picture: Image.Image) -> bool:
    """True for a BMP of 32 bits whose fourth byte is padding, though the header calls it alpha."""
    if picture.format != "BMP" or picture.mode != "RGBA":
        return False
    return not any(strip.getchannel("A").getbbox() for strip in _strips(picture))


def _over_white(picture: Image.Image) -> ByteArray:
    white = Image.new("RGBA", picture.size, "white")
    return _opaque(Image.alpha_composite(white, picture.convert("RGBA")))


def _opaque(picture: Image.Image) -> ByteArray:
    return cast(ByteArray, cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR))
