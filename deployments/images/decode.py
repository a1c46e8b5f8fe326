"""Decodes image files to the pixels that an image viewer would show."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.errors import ImageTooLarge, InvalidImage, UnsupportedMediaType

_READERS = ("JPEG", "PNG", "WEBP", "BMP")
# Pillow calls a JPEG file with several images, as phones write them, MPO.
_FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WebP", "BMP": "BMP"}
_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
# A JPEG is decoded at half its size if its longer side is at least this many times the side needed.
# This saves a fifth of the time. A photo with a small face is decoded again at full size; from this
# factor on, few faces are that small. A quarter or an eighth of the size is too little for most.
_HALVED_FROM = 8
# Formats that are not served, by their files' first bytes, for a clearer error than "unreadable".
_FOREIGN = {
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"\x00\x00\x01\x00": "ICO",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}
# The same for ISO media files, by the brand at byte 8.
_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}

# Pixels of a Pillow image that are converted at a time.
_STRIP_PIXELS = 1 << 20

# Sizes are checked below, against the configured limits.
Image.MAX_IMAGE_PIXELS = None
# OpenCV would log a line for each damaged photo.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image file.

    format: JPEG, PNG, WebP or BMP. width, height: as stored, before EXIF orientation.
    mode: Pillow's, or `transparent`. orientation: EXIF's, 1 to 8; other values change nothing.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int

    @property
    def can_be_halved(self) -> bool:
        """True if every pixel of the half-size image keeps its place when the image is turned.

        At an odd width or height the last column or row covers one pixel instead of two. Turning
        the image may move it to the front, which shifts all others.
        """
        return self.orientation == 1 or self.width % 2 == self.height % 2 == 0

    def shape_reduced(self, factor: int) -> tuple[int, int]:
        """Height and width of the stored image, decoded at one `factor`th of its size."""
        return -(-self.height // factor), -(-self.width // factor)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A photo's pixels, uint8 [h,w,3] BGR, EXIF orientation applied, at full or reduced size.

    width, height: the photo's, in pixels. reduction: one pixel here covers `reduction` x
    `reduction` pixels of the photo.
    """

    pixels: ByteArray
    width: int
    height: int
    reduction: int = 1

    @property
    def longer_side(self) -> int:
        """The photo's longer side, in pixels of the photo."""
        return max(self.width, self.height)

    @staticmethod
    def whole(pixels: ByteArray) -> "DecodedImage":
        return DecodedImage(pixels, pixels.shape[1], pixels.shape[0])


def require_bgr(image: npt.NDArray[np.generic], *, field: str = "image") -> ByteArray:
    """The array itself, uint8 [H,W,3] BGR. Raises InvalidImage with the shape and dtype found."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidImage(
            f"{field}: expected uint8 (H, W, 3) BGR, got {image.dtype} {image.shape}", field=field
        )
    return cast(ByteArray, image)


def read_photo(photo: Photo, limits: ImageLimits) -> ByteArray:
    """Decode a photo at full size to pixels uint8 [H,W,3] BGR; see `read_image`."""
    return read_image(photo, limits, needed_side=lambda longer: longer).pixels


def read_image(
    photo: Photo, limits: ImageLimits, *, needed_side: Callable[[int], int]
) -> DecodedImage:
    """Decode a photo; a JPEG many times as large as needed is decoded at half its size.

    needed_side: maps the photo's longer side to the smallest longer side allowed, in pixels.
    Decoding at half the size does less work and averages over the pixels it leaves out.
    Grey becomes three channels, transparency is laid over white, CMYK and 16-bit samples become
    8-bit BGR; an animation is decoded to its first frame. The size is checked before decoding.
    Raises InvalidImage, ImageTooLarge or UnsupportedMediaType, naming the photo's field.
    """
    if isinstance(photo.content, np.ndarray):
        pixels = require_bgr(photo.content, field=photo.field)
        _check_pixels(photo.field, pixels.shape[1], pixels.shape[0], limits)
        return DecodedImage.whole(pixels)
    _check_bytes(photo.field, len(photo.content), limits)
    file = _open(photo.field, photo.content)
    _check_pixels(photo.field, file.width, file.height, limits)
    header = _header(file)
    longer = max(header.width, header.height)
    reduction = _reduction(header, needed_side(longer))
    decoded = _decode(photo.field, photo.content, file, header, reduction)
    # Pillow decodes at full size whatever factor was asked for.
    reduction = reduction if max(decoded.shape) < longer else 1
    return _as_shown(decoded, header, reduction)


def _open(field: str, content: bytes) -> ImageFile.ImageFile:
    if not content:
        raise InvalidImage(f"{field}: the image is empty", field=field)
    try:
        return Image.open(io.BytesIO(content), formats=_READERS)
    except Exception as error:  # Pillow raises exceptions of any type on a broken header
        foreign = _foreign_format(content)
        if foreign:
            raise UnsupportedMediaType(
                f"{field}: {foreign} is not served; send JPEG, PNG, WebP or BMP", field=field
            ) from error
        raise InvalidImage(
            f"{field}: not a readable JPEG, PNG, WebP or BMP image", field=field
        ) from error


def _foreign_format(content: bytes) -> str | None:
    if content[4:8] == b"ftyp":
        return _ISO_BRANDS.get(content[8:12])
    return next((name for magic, name in _FOREIGN.items() if content.startswith(magic)), None)


def _header(file: ImageFile.ImageFile) -> ImageHeader:
    try:
        # Not `file.getexif()`, which decodes the whole image of a PNG without EXIF.
        orientation = int(Image.Image.getexif(file).get(_EXIF_ORIENTATION, 1))
    except Exception:  # like a viewer, which shows a photo with a broken EXIF block unturned
        orientation = 1
    return ImageHeader(
        format=_FORMATS[file.format or ""],
        width=file.width,
        height=file.height,
        mode="transparent" if file.has_transparency_data else file.mode,
        orientation=orientation,
    )


def _check_bytes(field: str, size: int, limits: ImageLimits) -> None:
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"{field}: {size} bytes, at most {limits.max_bytes} are taken",
            field=field,
            max_bytes=limits.max_bytes,
        )


def _check_pixels(field: str, width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{field}: {width} x {height} pixels, at most {limits.max_pixels} are taken",
            field=field,
            max_pixels=limits.max_pixels,
        )


def _reduction(header: ImageHeader, needed_side: int) -> int:
    """Factor by which to reduce the image while decoding it: 1 or 2."""
    large = max(header.width, header.height) >= _HALVED_FROM * needed_side
    return 2 if large and header.format == "JPEG" and header.can_be_halved else 1


def _decode(
    field: str, content: bytes, file: ImageFile.ImageFile, header: ImageHeader, reduction: int
) -> ByteArray:
    """Decode RGB and grey images with the fastest library, all others with Pillow at full size.

    Pillow also decodes the files that the faster library refuses.
    """
    try:
        if header.mode in ("RGB", "L"):
            if header.format == "JPEG":
                pixels = _decode_jpeg(content, header, reduction)
            else:
                pixels = _decode_with_opencv(content)
            if pixels is not None and pixels.shape[:2] == header.shape_reduced(reduction):
                return pixels
        return _decode_with_pillow(file)
    except Exception as error:  # both libraries raise exceptions of any type on a broken file
        raise InvalidImage(
            f"{field}: the {header.format} image is truncated or damaged", field=field
        ) from error


def _decode_jpeg(content: bytes, header: ImageHeader, reduction: int) -> ByteArray | None:
    """Decode by simplejpeg: OpenCV's pixels, in two thirds of its time for 12 megapixels.

    Returns None for a file that it refuses: it is stricter than Pillow and image viewers.
    """
    height, width = header.shape_reduced(reduction)
    try:
        return cast(
            ByteArray,
            simplejpeg.decode_jpeg(
                content, "BGR", min_height=height, min_width=width, min_factor=reduction
            ),
        )
    except ValueError:
        return None


def _decode_with_opencv(content: bytes) -> ByteArray | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cast(ByteArray | None, cv2.imdecode(np.frombuffer(content, np.uint8), flags))


def _decode_with_pillow(file: ImageFile.ImageFile) -> ByteArray:
    """Convert strip by strip: whole intermediate images would take many times the memory."""
    file.load()
    pixels = np.empty((file.height, file.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // file.width)
    for top in range(0, file.height, rows):
        bottom = min(top + rows, file.height)
        pixels[top:bottom] = _as_bgr(file.crop((0, top, file.width, bottom)))
    return pixels


def _as_bgr(image: Image.Image) -> ByteArray:
    if image.mode.startswith("I"):  # 16-bit grey, as I;16 or, from older PNGs, as I
        high_bytes = (np.asarray(image) >> 8).astype(np.uint8)
        return cast(ByteArray, cv2.cvtColor(high_bytes, cv2.COLOR_GRAY2BGR))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return cast(ByteArray, cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR))


def _as_shown(decoded: ByteArray, header: ImageHeader, reduction: int) -> DecodedImage:
    width, height = header.width, header.height
    if header.orientation in _TRANSPOSED:
        width, height = height, width
    return DecodedImage(_upright(decoded, header.orientation), width, height, reduction)


def _upright(pixels: ByteArray, orientation: int) -> ByteArray:
    """Turn and mirror by EXIF orientation 1 to 8; other values change nothing."""
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
