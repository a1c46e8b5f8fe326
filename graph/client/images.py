"""Images that callers give, converted to the photos that a client sends, and those to files."""

import os
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.errors import InvalidImage, InvalidRequest


class BinaryFile(Protocol):
    """An open file, or io.BytesIO."""

    def read(self) -> bytes: ...


# A path; an image file's bytes, or the file opened; a Pillow picture; an array (`bgr_from_array`).
ImageLike: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryFile
    | Image.Image
    | npt.NDArray[Any]
)

# The servers' default limit; a server with a lower one answers with an error.
_MAX_BYTES = ImageLimits().max_bytes
# PNG's quickest level: files a third larger than at its best level, in a tenth of the time.
_PNG_LEVEL = 1
# A PNG of 12 megapixels takes a second: a sample of the rows tells if it is worth trying.
_SAMPLED = 8
_JPEG_QUALITIES = (95, 90, 80, 60)
_JPEG_MAX_SIDE = 65_500  # libjpeg's


def photo_from(field: str, image: ImageLike) -> Photo:
    """Read or convert an image.

    field: the argument's name, which errors give. A file's bytes are sent as they are; of a Pillow
    picture and of an array the pixels, as a viewer would show its file. Raises InvalidRequest for
    another type, InvalidImage for a picture or an array that is unclear or damaged, and OSError for
    a path that cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return Photo(field, bytes(image))
    if isinstance(image, str | os.PathLike):
        return Photo(field, _file_at(field, image))
    if isinstance(image, np.ndarray | Image.Image):
        return Photo(field, _pixels(field, image))
    if hasattr(image, "read"):
        return Photo(field, _content(field, image))
    raise InvalidRequest(
        f"{field}: expected a path, an image file's bytes, an open file, a PIL picture or an array,"
        f" got {type(image).__name__}",
        field=field,
    )


def file_from(photo: Photo) -> bytes:
    """Return the photo's file. Pixels become a PNG, which loses nothing.

    Pixels whose PNG is over the default limit of an image, mostly those of more than five
    megapixels, become the best JPEG that is not, without chroma subsampling. Raises InvalidImage if
    they are too long for a JPEG.
    """
    if isinstance(photo.content, bytes):
        return photo.content
    png = _png(photo.content)
    if png is None and max(photo.content.shape) > _JPEG_MAX_SIDE:
        raise InvalidImage(
            f"{photo.field}: a side over {_JPEG_MAX_SIDE} pixels, a PNG over {_MAX_BYTES} bytes",
            field=photo.field,
        )
    return _jpeg(photo.content) if png is None else png


def _file_at(field: str, path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except ValueError as error:  # a NUL character
        raise InvalidRequest(f"{field}: {path!r} is no path: {error}", field=field) from error


def _content(field: str, file: BinaryFile) -> bytes:
    """Read a file from its start, as Pillow does: a BytesIO just written stands at its end."""
    seekable = getattr(file, "seekable", None)
    try:
        if seekable and seekable():
            file.seek(0)  # type: ignore[attr-defined]
        content = file.read()
    except ValueError as error:  # it is closed, or opened for writing
        raise InvalidRequest(f"{field}: expected a file to read: {error}", field=field) from error
    if not isinstance(content, bytes):
        raise InvalidRequest(f"{field}: expected a file opened in binary mode", field=field)
    return content


# OpenCV is loaded for pixels only: files and paths are sent without it.


def _pixels(field: str, image: npt.NDArray[Any] | Image.Image) -> ByteArray:
    from deployments.images.pixels import bgr_from_array, bgr_from_picture

    if isinstance(image, np.ndarray):
        return bgr_from_array(image, field=field)
    return bgr_from_picture(image, field=field)


def _png(pixels: ByteArray) -> bytes | None:
    """None if it has more bytes than a server takes."""
    import cv2

    def encoded(part: ByteArray) -> bytes:
        return cv2.imencode(".png", part, (cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL))[1].tobytes()

    if pixels.nbytes > _MAX_BYTES:
        middle = len(pixels) // 2
        sample = pixels[middle : middle + max(1, len(pixels) // _SAMPLED)]
        if len(encoded(sample)) * _SAMPLED > _MAX_BYTES:
            return None
    png = encoded(pixels)
    return png if len(png) <= _MAX_BYTES else None


def _jpeg(pixels: ByteArray) -> bytes:
    """The best that a server takes, or else the smallest, which the server then refuses."""
    import cv2

    content = b""
    for quality in _JPEG_QUALITIES:
        options = (
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        )
        content = cv2.imencode(".jpg", pixels, options)[1].tobytes()
        if len(content) <= _MAX_BYTES:
            break
    return content
