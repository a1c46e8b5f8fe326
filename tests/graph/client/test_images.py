"""Images that Python callers give: pictures and arrays are as their files, or are refused."""

import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import ArrayLike, DTypeLike
from PIL import Image

from deployments.contracts import ByteArray
from deployments.errors import FaceGraphError, InvalidImage, InvalidRequest
from graph.client.images import file_from, photo_from
from tests.support.colour_images import (
    PLAIN,
    bmp_with_alpha,
    decoded,
    encoded,
    oriented,
    picture,
    png_with_xmp,
    with_alpha,
)
from tests.support.photos import PLAYERS, YAOMING, photo, photo_bytes, photo_path

LIMIT = 12 * 1024 * 1024  # the default of `image_limits.max_bytes`


def pixels_of(image: Any) -> ByteArray:
    content = photo_from("image", image).content
    assert isinstance(content, np.ndarray)
    assert content.dtype == np.uint8
    return content


def sixteen_bits(bits: int) -> Image.Image:
    grey = np.asarray(picture().convert("L")).astype(np.uint16)
    return Image.fromarray(grey * np.uint16(1 << (bits - 8)))


FILES = {
    "JPEG": photo_bytes(YAOMING),
    "JPEG turned by EXIF": encoded(picture(), "JPEG", exif=oriented(6)),
    "PNG turned by EXIF": encoded(picture(), "PNG", exif=oriented(7)),
    "PNG turned by XMP alone": png_with_xmp(b'<rdf:Description tiff:Orientation="6"/>'),
    "JPEG, CMYK": encoded(picture().convert("CMYK"), "JPEG"),
    "JPEG, grey": encoded(picture().convert("L"), "JPEG"),
    "PNG, alpha": encoded(with_alpha(100), "PNG"),
    "PNG, grey with alpha": encoded(with_alpha(100).convert("LA"), "PNG"),
    "PNG, palette": encoded(picture().quantize(4), "PNG"),
    "PNG, palette with alpha": encoded(picture().quantize(4), "PNG", transparency=b"\0\x80"),
    "PNG, 1 bit": encoded(picture([0, 255, 255, 0]).convert("1"), "PNG"),
    "PNG, 16 bits": encoded(sixteen_bits(16), "PNG"),
    "PNG, 12 of 16 bits": encoded(sixteen_bits(12), "PNG"),
    "PNG, 10 of 16 bits": encoded(sixteen_bits(10), "PNG"),
    "BMP, empty alpha": bmp_with_alpha(0),
    "WebP": encoded(picture(), "WEBP", exif=oriented(3)),
    "HEIC": encoded(picture(), "HEIF", exif=oriented(6).tobytes()),
    "AVIF": encoded(picture(), "AVIF", exif=oriented(6).tobytes()),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_pil_picture_gives_what_its_file_gives(content: bytes) -> None:
    assert (pixels_of(Image.open(io.BytesIO(content))) == decoded(content)).all()


def test_a_pil_picture_made_in_memory_is_taken() -> None:
    assert pixels_of(Image.new("RGB", (3, 2), (10, 20, 250))).tolist() == [[[250, 20, 10]] * 3] * 2
    assert pixels_of(Image.new("F", (3, 2), 0.2)).tolist() == [[[51] * 3] * 3] * 2
    assert pixels_of(Image.new("YCbCr", (1, 1), (90, 128, 128))).tolist() == [[[90] * 3]]
    turned = Image.open(io.BytesIO(FILES["JPEG turned by EXIF"])).convert("RGB")  # keeps its EXIF
    assert (pixels_of(turned) == decoded(FILES["JPEG turned by EXIF"])).all()


BGR = np.asarray([[[10, 20, 250], [0, 128, 255]]], np.uint8)
GREY = np.asarray([[7, 255]], np.uint8)
GREY_BGR = [[[7, 7, 7], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (BGR, BGR),
        (BGR[:, ::-1], BGR[:, ::-1]),
        (GREY, GREY_BGR),
        (GREY[..., None], GREY_BGR),
        (GREY.astype(np.uint16) * 257, GREY_BGR),
        (GREY.astype(">u2") * 16, GREY_BGR),  # 12 bits, and the other byte order
        (BGR.astype(np.uint16) * 256 + 77, BGR),
        (np.asarray([[True, False]]), [[[255] * 3, [0] * 3]]),
        (GREY / 255, GREY_BGR),
        ((BGR / 255).astype(np.float32), BGR),
        # 200 * 51 / 255 + 255 * 204 / 255; alpha of 0 everywhere is padding.
        (np.asarray([[[200, 0, 0, 51], [9, 9, 9, 255]]], np.uint8), [[[244, 204, 204], [9] * 3]]),
        (np.dstack([BGR, np.zeros_like(GREY)]), BGR),
    ],
)
def test_an_array_of_a_clear_kind_becomes_bgr(array: Any, expected: ArrayLike) -> None:
    pixels = pixels_of(array)
    assert pixels.flags.c_contiguous
    assert pixels.tolist() == np.asarray(expected).tolist()


def test_bgr_pixels_are_not_copied() -> None:
    assert pixels_of(BGR) is BGR


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "found"),
    [
        ((20, 30, 2), np.uint8, 0, "uint8 (20, 30, 2)"),
        ((3, 20, 30), np.uint8, 0, "uint8 (3, 20, 30)"),
        ((1, 20, 30, 3), np.uint8, 0, "uint8 (1, 20, 30, 3)"),
        ((30,), np.uint8, 0, "uint8 (30,)"),
        ((0, 30, 3), np.uint8, 0, "uint8 (0, 30, 3)"),
        ((20, 30, 3), np.int64, 9, "int64 (20, 30, 3)"),
        ((20, 30, 3), np.float32, 200, "float32 (20, 30, 3) from 200 to 200"),
        ((20, 30, 3), np.float32, np.nan, "float32 (20, 30, 3) from nan to nan"),
        ((20, 30, 3), np.complex64, 0, "complex64 (20, 30, 3)"),
        ((20, 30), object, None, "object (20, 30)"),
    ],
)
def test_an_array_of_an_unclear_kind_is_refused_saying_what_came(
    shape: tuple[int, ...], dtype: DTypeLike, value: Any, found: str
) -> None:
    with pytest.raises(InvalidImage) as caught:
        photo_from("source", np.full(shape, value, dtype))
    assert caught.value.details == {"field": "source"}
    assert caught.value.message == (
        "source: expected uint8 (H, W, 3) BGR; also grey or BGRA, and uint16, bool or float from 0"
        f" to 1; got {found}"
    )


class AtPath:
    def __fspath__(self) -> str:
        return str(photo_path(YAOMING))


def written() -> io.BytesIO:
    """A file in memory that stands at its end."""
    file = io.BytesIO()
    file.write(photo_bytes(YAOMING))
    return file


def test_a_file_is_taken_in_every_form_that_python_has() -> None:
    content, path = photo_bytes(YAOMING), photo_path(YAOMING)
    forms: list[Any] = [content, bytearray(content), memoryview(content), written()]
    forms += [path, str(path), AtPath()]
    with open(path, "rb") as file:
        for form in [*forms, file]:
            assert photo_from("image", form).content == content
            assert isinstance(photo_from("image", form).content, bytes)


def damaged() -> Image.Image:
    return Image.open(io.BytesIO(encoded(picture(), "PNG")[:-40]))


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (None, InvalidRequest, "expected a path, .* got NoneType"),
        (7, InvalidRequest, "got int"),
        ([[0, 0], [0, 0]], InvalidRequest, "got list"),
        (io.StringIO("text"), InvalidRequest, "a file opened in binary mode"),
        ("a\0.jpg", InvalidRequest, "is no path"),
        (Image.new("I", (2, 2), 70_000), InvalidImage, "from 0 to 65535, got 70000 to 70000"),
        (Image.new("F", (2, 2), 2.0), InvalidImage, "from 0 to 1, got 2 to 2"),
        (damaged(), InvalidImage, "truncated"),
    ],
)
def test_anything_else_is_refused_naming_the_argument(
    image: Any, kind: type[FaceGraphError], words: str
) -> None:
    with pytest.raises(kind, match=f"^target: .*{words}") as caught:
        photo_from("target", image)
    assert caught.value.details == {"field": "target"}


def test_a_file_that_is_closed_or_opened_for_writing_is_refused(tmp_path: Path) -> None:
    wanted = r"^image: expected a file to read: "
    with open(tmp_path / "photo.jpg", "wb") as file, pytest.raises(InvalidRequest, match=wanted):
        photo_from("image", file)
    with pytest.raises(InvalidRequest, match=rf"{wanted}.*closed"):
        photo_from("image", file)


@pytest.mark.parametrize("path", ["nowhere.jpg", Path("nowhere.jpg"), os.curdir])
def test_a_path_that_cannot_be_read_is_the_callers_own_error(path: Any) -> None:
    with pytest.raises(OSError, match=r"nowhere\.jpg|directory"):
        photo_from("image", path)


def sent(pixels: ByteArray) -> bytes:
    return file_from(photo_from("image", pixels))


def test_pixels_are_sent_without_loss_if_they_fit() -> None:
    for pixels in (photo(PLAYERS), np.full((3000, 4000, 3), PLAIN[0], np.uint8)):
        file = sent(pixels)
        assert file.startswith(b"\x89PNG")
        assert (decoded(file) == pixels).all()


@pytest.mark.parametrize(("noise", "least_psnr"), [(6, 35), (40, 30)])
def test_a_photo_of_twelve_megapixels_is_sent_as_the_best_jpeg_that_fits(
    noise: int, least_psnr: float
) -> None:
    large = np.asarray(cv2.resize(photo(PLAYERS), (4000, 3000)), np.uint8) // 2
    large += np.random.default_rng(0).integers(0, noise, large.shape, np.uint8)
    file = sent(large)
    assert file.startswith(b"\xff\xd8")
    assert len(file) <= LIMIT
    assert simplejpeg.decode_jpeg_header(file)[3] == "444"
    assert cv2.PSNR(decoded(file), large) > least_psnr


def test_pixels_that_neither_a_png_nor_a_jpeg_holds_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70_000, 64, 3), np.uint8)
    with pytest.raises(InvalidImage, match=r"^image: a side over 65500 pixels") as caught:
        sent(noise)
    assert caught.value.details == {"field": "image"}
    assert sent(noise // 255).startswith(b"\x89PNG")
