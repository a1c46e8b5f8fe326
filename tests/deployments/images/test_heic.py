"""HEIC files made of tiles, as phones write them, and those with more work than they show."""

import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from configs.limits import ImageLimits
from deployments.contracts import Photo
from deployments.errors import ImageTooLarge, InvalidImage
from deployments.images.decode import read_photo
from deployments.images.heic import decoded_pixels
from tests.support.colour_images import encoded

WIDTH, HEIGHT, TILE = 400, 300, 64
TILES = 7 * 5


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", TILE)
    return encoded(Image.new("RGB", (WIDTH, HEIGHT), "grey"), "HEIF")


def test_tiles_count_besides_the_photo_that_they_make_up(tiled: bytes) -> None:
    assert tiled.count(b"grid") == 1
    assert decoded_pixels(tiled) == WIDTH * HEIGHT + TILES * TILE**2
    pixels = read_photo(Photo("target", tiled), ImageLimits(max_pixels=WIDTH * HEIGHT))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_a_photo_with_far_more_tiles_than_it_shows_is_refused(tiled: bytes) -> None:
    """libheif decodes them all, and one tile again for each reference to it."""
    small = tiled.replace(struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 40, 30))
    small = small.replace(struct.pack(">HH", WIDTH, HEIGHT), struct.pack(">HH", 40, 30))
    assert read_photo(Photo("target", small), ImageLimits()).shape == (30, 40, 3)
    with pytest.raises(ImageTooLarge) as caught:
        read_photo(Photo("target", small), ImageLimits(max_pixels=1200))
    assert caught.value.message == (
        "target: the HEIC image has parts of 144560 pixels, at most 4800 are taken"
    )


def test_images_derived_from_each_other_are_damaged(tiled: bytes) -> None:
    at = tiled.index(b"dimg") + 4
    derived = tiled[at : at + 2]
    cyclic = tiled[: at + 4] + derived + tiled[at + 6 :]
    with pytest.raises(ValueError, match="derived from each other"):
        decoded_pixels(cyclic)
    with pytest.raises(InvalidImage):
        read_photo(Photo("target", cyclic), ImageLimits())
