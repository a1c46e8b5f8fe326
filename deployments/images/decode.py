"""Decodes image files to the pixels that an image viewer would show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageFile

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, FloatArray, Photo
from deployments.errors import ImageTooLarge, InvalidImage
from deployments.images.formats import FORMATS, open_image
from deployments.images.heic import decoded_pixels
from deployments.images.jpeg import decode_ending_early, decode_jpeg, scan_headers
from deployments.images.limits import require_size
from deployments.images.pixels import (
    TRANSPOSED,
    bgr_from_array,
    exif_orientation,
    require_bgr,
    stored_pixels,
    upright,
)

# Half the size of a camera's JPEG takes three quarters of the time that all its pixels take, and a
# quarter of the size two thirds.
_REDUCTIONS = (4, 2)
# A grid of tiles and the tiles count twice; an iPhone's 48 megapixels with a gain map, 3.5 times.
_PARTS_PIXELS = 4
# A PNG of 16 bits whose upper four are empty has no brighter sample in 8 bits, if rounded up.
_EMPTY_UPPER_BITS = 16
_PNG_DEPTH_AT = 24  # byte of a PNG file that has the bits of a sample

# Sizes are checked below, against the configured limits.
Image.MAX_IMAGE_PIXELS = None
# OpenCV would log a line for each damaged photo.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image file.

    format: JPEG, PNG, WebP, BMP, HEIC or AVIF. width, height: as stored, before EXIF orientation.
    mode: Pillow's, or `transparent`. orientation: EXIF's, 1 to 8; other values change nothing.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int

    def can_be_reduced(self, factor: int) -> bool:
        """True if every pixel of the reduced image keeps its place when the image is turned.

        If the factor does not divide width and height, the last column or row covers fewer pixels.
        Turning the image may move it to the front, which shifts all others.
        """
        return self.orientation == 1 or self.width % factor == self.height % factor == 0

    def shape_reduced(self, factor: int) -> tuple[int, int]:
        """Height and width of the stored image, decoded at one `factor`th of its size."""
        return -(-self.height // factor), -(-self.width // factor)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A photo's pixels, uint8 [h,w,3] BGR, EXIF orientation applied, at full or reduced size.

    width, height: the photo's, in pixels. reduction: one pixel here covers `reduction` x
    `reduction` pixels of the photo. missing: the part of the photo that its file ends before, x1 y1
    x2 y2 in pixels of the photo, shown grey; None for a whole file.
    """

    pixels: ByteArray
    width: int
    height: int
    reduction: int = 1
    missing: tuple[int, int, int, int] | None = None

    @property
    def longer_side(self) -> int:
        """The photo's longer side, in pixels of the photo."""
        return max(self.width, self.height)

    @staticmethod
    def whole(pixels: ByteArray) -> "DecodedImage":
        return DecodedImage(pixels, pixels.shape[1], pixels.shape[0])

    def require_shown(self, boxes: FloatArray, *, field: str) -> None:
        """Raise InvalidImage if a face lies at least partly in the missing part.

        boxes: float32 [N,4], x1 y1 x2 y2 in pixels of the photo.
        """
        if self.missing is None:
            return
        left, top, right, bottom = self.missing
        x1, y1, x2, y2 = boxes.T
        if ((x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top)).any():
            raise InvalidImage(
                f"{field}: the JPEG image is cut off, and a face lies in the part that is missing",
                field=field,
            )


def read_photo(photo: Photo, limits: ImageLimits) -> ByteArray:
    """Decode a photo at full size to pixels uint8 [H,W,3] BGR; see `read_image`."""
    return read_image(photo, limits, needed_side=lambda longer: longer).pixels


def read_image(
    photo: Photo, limits: ImageLimits, *, needed_side: Callable[[int], int]
) -> DecodedImage:
    """Decode a photo; a JPEG larger than needed may be decoded at half or a quarter of its size.

    needed_side: maps the photo's longer side to the smallest longer side allowed, in pixels.
    Decoding at a smaller size does less work and averages over the pixels it leaves out.
    Grey becomes three channels, transparency is laid over white, CMYK and 16-bit samples become
    8-bit BGR; an animation is decoded to its first frame; a JPEG that is cut off is decoded as far
    as it goes. The size is checked before decoding.
    Raises InvalidImage, ImageTooLarge or UnsupportedMediaType, naming the photo's field.
    """
    return open_photo(photo, limits).decoded(needed_side)


@dataclass(frozen=True, slots=True)
class OpenedPhoto:
    """A photo whose header has been read. width, height: as stored, in pixels."""

    field: str
    width: int
    height: int
    content: bytes | ByteArray
    file: ImageFile.ImageFile | None = None

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def decoded(self, needed_side: Callable[[int], int]) -> DecodedImage:
        """The photo's pixels; see `read_image`. Raises InvalidImage. To be called once."""
        if isinstance(self.content, np.ndarray):
            return DecodedImage.whole(self.content)
        assert self.file is not None
        header = _header(self.file)
        longer = max(header.width, header.height)
        reduction = _reduction(header, needed_side(longer))
        decoded, first_missing = _decode(self.field, self.content, self.file, header, reduction)
        # Pillow decodes at full size whatever factor was asked for.
        reduction = reduction if max(decoded.shape) < longer else 1
        return _as_shown(decoded, header, reduction, first_missing)


def open_photo(photo: Photo, limits: ImageLimits) -> OpenedPhoto:
    """Read a photo's header and check its size.

    Raises InvalidImage, ImageTooLarge or UnsupportedMediaType, naming the photo's field.
    """
    content, field = photo.content, photo.field
    if isinstance(content, np.ndarray):
        pixels = require_bgr(content, field=field)
        _check_pixels(field, pixels.shape[1], pixels.shape[0], limits)
        return OpenedPhoto(field, pixels.shape[1], pixels.shape[0], pixels)
    require_size(photo, limits)
    file = open_image(content, field)
    _check_pixels(field, file.width, file.height, limits)
    if FORMATS[file.format or ""] == "HEIC":
        _check_parts(field, content, limits)
    return OpenedPhoto(field, file.width, file.height, content, file)


def _header(file: ImageFile.ImageFile) -> ImageHeader:
    return ImageHeader(
        format=FORMATS[file.format or ""],
        width=file.width,
        height=file.height,
        mode="transparent" if file.has_transparency_data else file.mode,
        orientation=exif_orientation(file),
    )


def _check_pixels(field: str, width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{field}: {width} x {height} pixels, at most {limits.max_pixels} are taken",
            field=field,
            max_pixels=limits.max_pixels,
        )


def _check_parts(field: str, content: bytes, limits: ImageLimits) -> None:
    most = _PARTS_PIXELS * limits.max_pixels
    try:
        pixels = decoded_pixels(content)
    except (ValueError, IndexError) as error:
        raise InvalidImage(f"{field}: the HEIC image is damaged", field=field) from error
    if pixels > most:
        raise ImageTooLarge(
            f"{field}: the HEIC image has parts of {pixels} pixels, at most {most} are taken",
            field=field,
            max_pixels=limits.max_pixels,
        )


def _reduction(header: ImageHeader, needed_side: int) -> int:
    """Factor by which to reduce the image while decoding it: 1, 2 or 4."""
    longer = max(header.width, header.height)
    possible = _REDUCTIONS if header.format == "JPEG" else ()
    fitting = (
        one for one in possible if longer >= one * needed_side and header.can_be_reduced(one)
    )
    return next(fitting, 1)


def _decode(
    field: str, content: bytes, file: ImageFile.ImageFile, header: ImageHeader, reduction: int
) -> tuple[ByteArray, int | None]:
    """Decode RGB and grey images with the fastest library, all others with Pillow at full size.

    Pillow also decodes the files that the faster library refuses. Returns the stored pixels, and
    the first row that may be missing, or None.
    """
    try:
        if header.format == "JPEG":
            scan_headers(content, file)  # refuses too many, in all of the libraries
        if header.mode in ("RGB", "L"):
            if header.format == "JPEG":
                return _decode_jpeg(content, file, header, reduction)
            if header.format != "HEIC" and header.format != "AVIF":
                pixels = _decode_with_opencv(content, header)
                if pixels is not None:
                    return pixels, None
        if header.format == "WebP" and header.mode == "transparent":
            picture = _transparent_webp(content, header)
            if picture is not None:
                return stored_pixels(picture), None
        return _decode_with_pillow(file, header), None
    except Exception as error:  # both libraries raise exceptions of any type on a broken file
        raise InvalidImage(
            f"{field}: the {header.format} image is truncated or damaged", field=field
        ) from error


def _decode_jpeg(
    content: bytes, file: ImageFile.ImageFile, header: ImageHeader, reduction: int
) -> tuple[ByteArray, int | None]:
    shape = header.shape_reduced(reduction)
    pixels = decode_jpeg(content, shape, reduction)
    if pixels is not None and pixels.shape[:2] == shape:
        return pixels, None
    return decode_ending_early(content, file) or (_decode_with_pillow(file, header), None)


def _decode_with_opencv(content: bytes, header: ImageHeader) -> ByteArray | None:
    encoded = np.frombuffer(content, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(encoded, flags)
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        return None
    if (
        header.format == "PNG"
        and content[_PNG_DEPTH_AT] == 16
        and pixels.max() <= _EMPTY_UPPER_BITS
    ):
        del pixels
        samples = cv2.imdecode(encoded, flags | cv2.IMREAD_ANYDEPTH)
        return bgr_from_array(np.asarray(samples))
    return cast(ByteArray, pixels)


def _transparent_webp(content: bytes, header: ImageHeader) -> Image.Image | None:
    """A picture decoded by OpenCV, which takes half of the memory that Pillow takes for it."""
    samples = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.shape != (header.height, header.width, 4):
        return None
    return Image.fromarray(cv2.cvtColor(samples, cv2.COLOR_BGRA2RGBA))


def _decode_with_pillow(file: ImageFile.ImageFile, header: ImageHeader) -> ByteArray:
    pixels = stored_pixels(file)
    if pixels.shape[:2] != (header.height, header.width):
        raise ValueError("the image has another size than its header says")
    return pixels


def _as_shown(
    decoded: ByteArray, header: ImageHeader, reduction: int, first_missing: int | None
) -> DecodedImage:
    width, height = header.width, header.height
    if header.orientation in TRANSPOSED:
        width, height = height, width
    missing = None if first_missing is None else _missing_part(header, first_missing)
    return DecodedImage(upright(decoded, header.orientation), width, height, reduction, missing)


def _missing_part(header: ImageHeader, first_missing: int) -> tuple[int, int, int, int]:
    """The stored rows from `first_missing` on, as x1 y1 x2 y2 of the upright photo."""
    stored = np.zeros((header.height, header.width, 1), np.uint8)
    stored[first_missing:] = 1
    x, y, width, height = cv2.boundingRect(upright(stored, header.orientation))
    return x, y, x + width, y + height
