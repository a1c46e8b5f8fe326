"""Images are decoded to the pixels that a viewer shows."""

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.images.decode import DecodedImage, read_image, read_photo
from deployments.images.pixels import bgr_from_array
from tests.support.colour_images import (
    BLUE,
    GREEN,
    PLAIN,
    RED,
    WHITE,
    YELLOW,
    bmp_with_alpha,
    check,
    decoded,
    encoded,
    oriented,
    picture,
    png_with_xmp,
    quarters,
    with_alpha,
)
from tests.support.photos import GDP, PLAYERS, photo, photo_bytes

# 0.299 R + 0.587 G + 0.114 B of the four colours.
GREY = [93, 136, 68, 211]


def over_white(colours: list[tuple[int, int, int]], alpha: int) -> list[list[float]]:
    return [[(value * alpha + 255 * (255 - alpha)) / 255 for value in rgb] for rgb in colours]


@pytest.mark.parametrize(
    ("content", "tolerance"),
    [
        (encoded(picture(), "PNG"), 0),
        (encoded(picture(), "BMP"), 0),
        (encoded(picture(), "WEBP", lossless=True), 0),
        (encoded(picture(), "WEBP", quality=90), 4),
        (encoded(picture(), "JPEG", quality=95), 4),
        (encoded(picture(), "JPEG", quality=95, progressive=True), 4),
    ],
    ids=["PNG", "BMP", "WebP lossless", "WebP", "JPEG", "JPEG progressive"],
)
def test_every_format_shows_its_colours(content: bytes, tolerance: int) -> None:
    check(content, PLAIN, tolerance=tolerance)


# The EXIF standard names the visual side of the first stored row, then of the first column.
TURNED = {
    1: [RED, GREEN, BLUE, YELLOW],  # above, left
    2: [GREEN, RED, YELLOW, BLUE],  # above, right
    3: [YELLOW, BLUE, GREEN, RED],  # below, right
    4: [BLUE, YELLOW, RED, GREEN],  # below, left
    5: [RED, BLUE, GREEN, YELLOW],  # left, above
    6: [BLUE, RED, YELLOW, GREEN],  # right, above
    7: [YELLOW, GREEN, BLUE, RED],  # right, below
    8: [GREEN, YELLOW, RED, BLUE],  # left, below
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_exif_orientation_is_applied_once(
    format: str, options: dict[str, object], orientation: int
) -> None:
    pixels = decoded(encoded(picture(), format, exif=oriented(orientation), **options))
    assert pixels.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    np.testing.assert_allclose(quarters(pixels), TURNED[orientation], atol=4)


def test_an_image_with_transparency_is_turned_too() -> None:
    pixels = decoded(encoded(with_alpha(255), "PNG", exif=oriented(6)))
    assert quarters(pixels) == [list(colour) for colour in TURNED[6]]


XMP_TURNED = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(), "JPEG", quality=95, xmp=XMP_TURNED),
        encoded(picture(), "WEBP", lossless=True, xmp=XMP_TURNED),
        png_with_xmp(XMP_TURNED),
    ],
    ids=["JPEG", "WebP", "PNG"],
)
def test_an_orientation_in_xmp_alone_turns_nothing_as_in_browsers(content: bytes) -> None:
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == 6  # Pillow would turn it
    check(content, PLAIN, tolerance=4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    check(encoded(picture(), "PNG", exif=oriented(orientation)), PLAIN)


# A directory at byte 8 with one entry, the orientation: as text, and as fractions beyond the end.
TEXT = b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0?\0\0\0\0\0\0\0"
BEYOND = b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\xff\0\0\0\xff\xff\xff\0\0\0\0\0"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [b"?", b"no EXIF at all", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", TEXT, BEYOND],
    ids=["a byte", "words", "directory beyond", "entries beyond", "text", "value beyond"],
)
def test_an_image_with_a_broken_exif_block_is_decoded(format: str, exif: bytes) -> None:
    check(encoded(picture(), format, exif=b"Exif\0\0" + exif, quality=95), PLAIN, tolerance=6)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
def test_grey_becomes_three_equal_channels(format: str) -> None:
    check(encoded(picture().convert("L"), format), GREY, tolerance=2)


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_transparency_is_laid_over_white(
    format: str, options: dict[str, object], alpha: int
) -> None:
    content = encoded(with_alpha(alpha), format, **options)
    check(content, over_white(PLAIN, alpha), tolerance=1)


def test_grey_with_transparency_is_laid_over_white() -> None:
    image = Image.merge("LA", [picture().convert("L"), picture([0, 128, 192, 255])])
    # 255; (136 * 128 + 255 * 127) / 255; (68 * 192 + 255 * 63) / 255; 211 unchanged.
    check(encoded(image, "PNG"), [255, 195, 114, 211], tolerance=1)


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_a_palettes_colours_are_looked_up(format: str) -> None:
    check(encoded(picture().quantize(4), format), PLAIN)


def test_a_palettes_transparency_is_laid_over_white() -> None:
    paletted = picture().quantize(4)
    half = bytes([0, 128, 255, 255])  # of the palette's entries, not of the quarters
    by_entry = np.asarray(paletted.getpalette(), int).reshape(-1, 3)[:4].tolist()
    shown = {
        tuple(rgb): over_white([rgb], alpha)[0] for rgb, alpha in zip(by_entry, half, strict=True)
    }
    check(
        encoded(paletted, "PNG", transparency=half),
        [shown[colour] for colour in PLAIN],
        tolerance=1,
    )


def test_a_colour_marked_as_transparent_is_shown_white() -> None:
    check(encoded(picture(), "PNG", transparency=BLUE), [RED, GREEN, WHITE, YELLOW])
    grey = picture().convert("L")
    check(encoded(grey, "PNG", transparency=GREY[0]), [255, *GREY[1:]])


def test_an_adobe_cmyk_jpeg_is_not_shown_inverted() -> None:
    inks = np.asarray([(0, 255, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0), (255, 0, 0, 0)], np.uint8)
    pixels = inks.reshape(2, 2, 4).repeat(16, axis=0).repeat(24, axis=1)
    content = encoded(Image.fromarray(pixels, "CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    check(content, [(255, 0, 0), (0, 0, 0), WHITE, (0, 255, 255)], tolerance=4)


def sixteen_bits(image: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    return np.asarray(image).astype(np.uint16) * 257  # 0xABAB for 0xAB


def test_a_16_bit_grey_png_keeps_its_range() -> None:
    check(encoded(Image.fromarray(sixteen_bits(picture().convert("L"))), "PNG"), GREY)


def test_a_16_bit_colour_png_keeps_its_colours() -> None:
    check(png_by_opencv(sixteen_bits(picture())[..., ::-1]), PLAIN, tolerance=1)


def test_a_16_bit_png_with_transparency_is_laid_over_white() -> None:
    bgra = sixteen_bits(with_alpha(128))[..., [2, 1, 0, 3]]
    check(png_by_opencv(bgra), over_white(PLAIN, 128), tolerance=1)


def png_by_opencv(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]") -> bytes:
    written, content = cv2.imencode(".png", pixels)
    assert written
    return bytes(content)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_a_16_bit_png_with_empty_upper_bits_is_shown_bright(bits: int) -> None:
    """10 and 12 bits are cameras' depths; 4 of 12 bits are dropped, as 8 of 16 would be."""
    grey, colour = (
        np.asarray(image).astype(np.uint16) * np.uint16(1 << (bits - 8))
        for image in (picture([*GREY[:3], 255]).convert("L"), picture([*PLAIN[:3], WHITE]))
    )
    check(encoded(Image.fromarray(grey), "PNG"), [*GREY[:3], 255])
    check(png_by_opencv(colour[..., ::-1]), [*PLAIN[:3], WHITE])


def test_16_bits_are_shifted_into_8_without_another_copy() -> None:
    samples = np.full((500, 500, 3), 1023, np.uint16)
    tracemalloc.start()
    pixels = bgr_from_array(samples)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (pixels == 255).all()
    assert most_bytes < 1.1 * pixels.nbytes


def test_a_16_bit_photo_that_is_only_dark_stays_dark_to_a_sixteenth() -> None:
    """Its brightest sample, 255 * 16 + 16, has 13 bits: as after an exposure of 1/16."""
    dark = np.asarray(picture([*GREY[:3], 255]).convert("L")).astype(np.uint16) * 16 + 16
    check(encoded(Image.fromarray(dark), "PNG"), [5, 8, 4, 16])


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_one_bit_becomes_black_and_white(format: str) -> None:
    image = picture([0, 255, 255, 0]).convert("1")
    check(encoded(image, format), [0, 255, 255, 0])


def test_a_bmp_with_32_bits_shows_its_colours() -> None:
    check(encoded(with_alpha(255), "BMP"), PLAIN)


def test_alpha_of_a_bmp_counts_unless_it_is_empty() -> None:
    """Screenshots leave it empty; browsers then ignore it, too."""
    check(bmp_with_alpha(0), PLAIN)
    check(bmp_with_alpha(128), over_white(PLAIN, 128), tolerance=1)


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("MPO", "RGB", {"quality": 95}),
    ],
)
def test_a_file_of_several_images_is_decoded_to_the_first(
    format: str, mode: str, options: dict[str, object]
) -> None:
    first, second = picture().convert(mode), picture(PLAIN[::-1]).convert(mode)
    content = encoded(first, format, save_all=True, append_images=[second], **options)
    assert len(content) > len(encoded(first, format, **options))
    check(content, PLAIN, tolerance=4)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_phones_newer_formats_show_their_colours(format: str) -> None:
    check(encoded(picture(), format, quality=95), PLAIN, tolerance=6)
    check(encoded(with_alpha(128), format, quality=95), over_white(PLAIN, 128), tolerance=6)
    check(encoded(picture().convert("L"), format, quality=95), GREY, tolerance=4)
    for orientation in (3, 6, 8):
        exif = oriented(orientation).tobytes()  # the writers turn it into a box of the format's
        turned = decoded(encoded(picture(), format, quality=95, exif=exif))
        np.testing.assert_allclose(quarters(turned), TURNED[orientation], atol=6)


def test_a_photo_is_decoded_as_the_reference_answers_were() -> None:
    assert (decoded(photo_bytes(GDP)) == photo(GDP)).all()


def test_an_array_is_taken_as_it_is() -> None:
    pixels: ByteArray = np.zeros((20, 30, 3), np.uint8)
    assert read_photo(Photo("image", pixels), ImageLimits()) is pixels


def reduced(content: bytes, needed: int) -> DecodedImage:
    return read_image(
        Photo("image", content), ImageLimits(), needed_side=lambda longer: min(longer, needed)
    )


@pytest.mark.parametrize(
    ("needed", "reduction", "shape"),
    [
        (1237, 1, (800, 1237, 3)),
        (619, 1, (800, 1237, 3)),  # twice that would be 1238
        (618, 2, (400, 619, 3)),  # the odd last column becomes a column of its own
        (310, 2, (400, 619, 3)),
        (309, 4, (200, 310, 3)),
        (10, 4, (200, 310, 3)),
    ],
)
def test_a_jpeg_larger_than_needed_is_decoded_at_half_or_a_quarter_of_its_size(
    needed: int, reduction: int, shape: tuple[int, int, int]
) -> None:
    found = reduced(photo_bytes(PLAYERS), needed)
    assert (found.reduction, found.pixels.shape) == (reduction, shape)
    assert (found.width, found.height) == (1237, 800)


def test_a_reduced_image_shows_the_same_as_the_photo() -> None:
    whole, half = photo(PLAYERS), reduced(photo_bytes(PLAYERS), 500).pixels
    averaged = cv2.resize(whole[:, :1236], (618, 400), interpolation=cv2.INTER_AREA)
    assert np.abs(averaged.astype(int) - half[:, :618]).mean() < 2


@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photo_is_reduced_too(orientation: int, reduction: int) -> None:
    content = encoded(picture().resize((480, 320)), "JPEG", quality=95, exif=oriented(orientation))
    whole, small = decoded(content), reduced(content, 480 // reduction)
    assert small.reduction == reduction
    assert (small.height, small.width) == whole.shape[:2]
    middle = reduction // 2
    same = whole[middle::reduction, middle::reduction].astype(int)
    assert np.abs(same - small.pixels).mean() < 4


def test_a_turned_photo_with_a_remainder_is_not_reduced() -> None:
    """When turned, its odd last column would come first and shift all others."""
    content = encoded(picture().resize((481, 320)), "JPEG", quality=95, exif=oriented(3))
    assert reduced(content, 60).reduction == 1
    even = encoded(picture().resize((482, 320)), "JPEG", quality=95, exif=oriented(3))
    assert reduced(even, 60).reduction == 2


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_decoded_whole(format: str) -> None:
    found = reduced(encoded(picture(), format), 4)
    assert (found.reduction, found.pixels.shape) == (1, (32, 48, 3))
