import numpy as np
import pytest

from deployments.contracts import ByteArray, Detections
from deployments.detector.preprocess import (
    PAD_COLOUR,
    NetworkInput,
    first_pass_side,
    framed_input,
    resized_input,
)
from deployments.images.decode import DecodedImage


def plain(height: int, width: int) -> ByteArray:
    return np.full((height, width, 3), (10, 200, 90), np.uint8)


def first_input(
    image: DecodedImage,
    *,
    max_side: int | None,
    pad_multiple: int = 1,
    shrink_above: int | None = None,
) -> NetworkInput:
    """The first pass's input, made as the detector makes it."""
    side = first_pass_side(image.longer_side, max_side=max_side, shrink_above=shrink_above)
    return resized_input(image, side=side, pad_multiple=pad_multiple)


@pytest.mark.parametrize(
    ("photo", "max_side", "expected"),
    [
        ((800, 1237), 640, (414, 640)),  # 800 * 640 / 1237 = 413.9
        ((1237, 800), 640, (640, 414)),
        ((641, 641), 640, (640, 640)),
        ((640, 500), 640, (640, 500)),
        ((287, 233), 640, (287, 233)),  # never enlarged
        ((2000, 3000), None, (2000, 3000)),
        ((3, 10_000), 100, (1, 100)),  # 0.03 pixels high, but no image is without pixels
    ],
)
def test_a_photo_is_shrunk_to_its_longer_side_and_never_enlarged(
    photo: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    pixels = first_input(DecodedImage.whole(plain(*photo)), max_side=max_side).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*expected, 3)
    assert (pixels == (10, 200, 90)).all()


def test_a_photo_of_the_right_size_is_not_copied() -> None:
    photo = plain(64, 96)
    assert first_input(DecodedImage.whole(photo), max_side=640, pad_multiple=32).pixels is photo


def test_padding_lies_right_and_below_in_the_colour_that_the_network_subtracts() -> None:
    photo = plain(40, 65)
    padded = first_input(DecodedImage.whole(photo), max_side=None, pad_multiple=32)
    assert padded.pixels.shape == (64, 96, 3)
    assert (padded.pixels[:40, :65] == photo).all()
    assert (padded.pixels[40:] == PAD_COLOUR).all()
    assert (padded.pixels[:, 65:] == PAD_COLOUR).all()


def faces_at(box: tuple[float, float, float, float]) -> Detections:
    x1, y1, x2, y2 = box
    points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    return Detections(
        np.asarray([box], np.float32),
        np.asarray([0.9], np.float32),
        np.asarray([points], np.float32),
    )


def test_faces_come_back_in_the_photos_pixels_each_axis_by_its_own_scale() -> None:
    # 65 x 199 pixels become 33 x 100: 199/100 photo pixels wide, 65/33 high, not 1.99 twice.
    shrunk = first_input(DecodedImage.whole(plain(65, 199)), max_side=100)
    assert shrunk.pixels.shape == (33, 100, 3)
    found = shrunk.to_photo(faces_at((0, 0, 100, 33)))
    assert found.boxes.dtype == found.landmarks.dtype == np.float32
    np.testing.assert_allclose(found.boxes, [[0, 0, 199, 65]], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks[0, 2], [199, 65], rtol=1e-6)
    assert found.scores.tolist() == [np.float32(0.9)]


def test_a_photo_of_several_times_the_size_is_averaged_over_all_of_its_pixels() -> None:
    fine = np.zeros((400, 800, 3), np.uint8)
    fine[::4, ::4] = 160  # one pixel of every 4 x 4
    shrunk = first_input(DecodedImage.whole(fine), max_side=200)
    assert shrunk.pixels.shape == (100, 200, 3)
    assert (shrunk.pixels == 10).all()


def test_a_column_too_many_for_halves_is_left_out_and_moves_no_face() -> None:
    # 301 x 101 pixels are halved to 150 x 50, then shrunk to 100 x 34.
    shrunk = first_input(DecodedImage.whole(plain(101, 301)), max_side=100)
    assert shrunk.pixels.shape == (34, 100, 3)
    found = shrunk.to_photo(faces_at((0, 0, 100, 34)))
    np.testing.assert_allclose(found.boxes, [[0, 0, 300, 100]], rtol=1e-6)


def test_padding_moves_no_face() -> None:
    padded = first_input(DecodedImage.whole(plain(33, 50)), max_side=None, pad_multiple=32)
    faces = faces_at((3, 4, 20, 30))
    assert padded.to_photo(faces).boxes.tolist() == faces.boxes.tolist()
    assert padded.to_photo(Detections.none()).landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("longer", "max_side", "shrink_above", "side"),
    [
        (5000, None, None, 5000),
        (640, 640, None, 640),
        (641, 640, None, 640),
        (1500, 1000, 1500, 1500),  # as the published detector: only photos over 1500 are shrunk
        (1501, 1000, 1500, 1000),
        (600, 1000, 1500, 600),
    ],
)
def test_photos_up_to_shrink_above_are_not_shrunk(
    longer: int, max_side: int | None, shrink_above: int | None, side: int
) -> None:
    assert first_pass_side(longer, max_side=max_side, shrink_above=shrink_above) == side
    sized = first_input(
        DecodedImage.whole(plain(300, longer)),
        max_side=max_side,
        shrink_above=shrink_above,
    )
    assert sized.pixels.shape[1] == side


def test_a_photo_is_enlarged_to_a_larger_side() -> None:
    enlarged = resized_input(DecodedImage.whole(plain(100, 50)), side=250, pad_multiple=1)
    assert enlarged.pixels.shape == (250, 125, 3)
    np.testing.assert_allclose(
        enlarged.to_photo(faces_at((0, 0, 125, 250))).boxes, [[0, 0, 50, 100]]
    )


@pytest.mark.parametrize(
    ("photo", "pad_multiple", "frame", "inner", "framed"),
    [
        # Half of the longer side on every side; the whole is 640 at most.
        ((100, 200), 1, 100, (100, 200), (300, 400)),
        ((100, 200), 32, 100, (100, 200), (320, 416)),
        ((1000, 2000), 1, 160, (160, 320), (480, 640)),
    ],
)
def test_a_frame_around_the_photo_moves_its_faces_and_they_are_moved_back(
    photo: tuple[int, int],
    pad_multiple: int,
    frame: int,
    inner: tuple[int, int],
    framed: tuple[int, int],
) -> None:
    made = framed_input(DecodedImage.whole(plain(*photo)), pad_multiple=pad_multiple)
    assert made.pixels.shape == (*framed, 3)
    bottom, right = frame + inner[0], frame + inner[1]
    assert (made.pixels[frame:bottom, frame:right] == (10, 200, 90)).all()
    for border in (
        made.pixels[:frame],
        made.pixels[bottom:],
        made.pixels[:, :frame],
        made.pixels[:, right:],
    ):
        assert border.size
        assert (border == PAD_COLOUR).all()
    found = made.to_photo(faces_at((frame, frame, right, bottom)))
    np.testing.assert_allclose(found.boxes, [[0, 0, photo[1], photo[0]]], atol=1e-3)
    np.testing.assert_allclose(found.landmarks[0, 2], [photo[1], photo[0]], rtol=1e-6)


def test_an_image_at_a_reduced_scale_gives_the_photos_pixels() -> None:
    """A photo of 4000 x 2000, decoded at a quarter: 1000 x 500, then shrunk to 500 x 250."""
    image = DecodedImage(plain(500, 1000), width=4000, height=2000, reduction=4)
    item = first_input(image, max_side=500)
    assert item.pixels.shape == (250, 500, 3)
    found = item.to_photo(faces_at((10, 20, 30, 40)))
    np.testing.assert_allclose(found.boxes, [(80, 160, 240, 320)])


def test_the_limit_over_which_photos_are_shrunk_counts_the_photos_pixels() -> None:
    """Decoded at half its size, the photo has 1500 pixels, which alone would not be shrunk."""
    image = DecodedImage(plain(300, 1500), width=3000, height=600, reduction=2)
    item = first_input(image, max_side=1000, shrink_above=1500)
    assert item.pixels.shape[1] == 1000
