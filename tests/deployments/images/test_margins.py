"""Chips with margin: where they lie in the photo, and what of them the photo has."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from deployments.contracts import ByteArray, ChipArea, Detections, FloatArray, FoundFaces
from deployments.images.decode import DecodedImage
from deployments.images.margins import (
    are_cut,
    cut_margin_chips,
    margin_reduction,
    visible_shares,
)

NEAR, FAR = ChipArea(80, 2.7), ChipArea(80, 4.0)


def coordinates(width: int, height: int) -> ByteArray:
    """A photo whose blue is the column, and whose green is the row."""
    rows, columns = np.indices((height, width))
    return np.dstack([columns, rows, np.zeros_like(rows)]).astype(np.uint8)


def boxes(*each: tuple[float, float, float, float]) -> FloatArray:
    return np.asarray(each, np.float32).reshape(-1, 4)


def faces(width: int, height: int, *each: tuple[float, float, float, float]) -> FoundFaces:
    count = len(each)
    detections = Detections(
        boxes(*each), np.ones(count, np.float32), np.zeros((count, 5, 2), np.float32)
    )
    return FoundFaces("image", width, height, detections)


def corners(chip: npt.NDArray[Any]) -> list[list[int]]:
    """Column and row of the photo at the chip's first and last pixel."""
    return [chip[0, 0, :2].tolist(), chip[-1, -1, :2].tolist()]


@pytest.mark.parametrize(
    ("box", "area", "shown"),
    [
        # 40 x 50 around (100, 90): 108 x 135.
        ((80, 65, 120, 115), NEAR, (46, 22, 154, 157)),
        ((80, 65, 120, 115), ChipArea(80, 2.0, square=True), (50, 40, 150, 140)),
        # Around (20, 90), 34 columns too far to the left: moved into the photo.
        ((0, 65, 40, 115), NEAR, (0, 22, 108, 157)),
        ((160, 140, 200, 190), NEAR, (91, 64, 199, 199)),
        # 240 x 320 where 199 x 199 are to be had: both sides shrink to 199/320.
        ((70, 60, 130, 140), FAR, (25, 0, 174, 199)),
    ],
)
def test_an_area_is_moved_into_the_photo_and_shrinks_to_it(
    box: tuple[float, float, float, float], area: ChipArea, shown: tuple[int, int, int, int]
) -> None:
    image = coordinates(200, 200)
    [chip] = cut_margin_chips(DecodedImage.whole(image), boxes(box), area)
    left, top, right, bottom = shown
    expected = cv2.resize(image[top : bottom + 1, left : right + 1], (80, 80))
    assert corners(chip) == corners(expected)
    assert (chip == expected).all()


def test_a_photo_decoded_at_half_size_gives_the_same_area() -> None:
    pixels = cv2.resize(coordinates(200, 200), (100, 100), interpolation=cv2.INTER_AREA)
    half = DecodedImage(pixels.astype(np.uint8), 200, 200, reduction=2)
    whole = DecodedImage.whole(coordinates(200, 200))
    box = boxes((80, 65, 120, 115))
    found, expected = (cut_margin_chips(one, box, NEAR).astype(int) for one in (half, whole))
    assert np.abs(found - expected).max() <= 2


def test_a_photo_is_reduced_while_no_chip_is_enlarged() -> None:
    # The shorter side of the area: 100 x 4.0, and 40 x 4.0.
    assert margin_reduction(boxes((0, 0, 100, 200)), FAR) == 5
    assert margin_reduction(boxes((0, 0, 100, 200), (0, 0, 90, 40)), FAR) == 2
    assert margin_reduction(boxes((0, 0, 10, 10)), FAR) == 1
    assert margin_reduction(boxes(), FAR) == 1


def test_the_visible_share_is_that_of_the_area_around_the_face() -> None:
    found = faces(200, 100, (90, 40, 110, 60), (0, 40, 20, 60), (40, 10, 120, 90))
    # 80 x 80 whole; 50 of 80 columns; 320 x 320 around (80, 50), of which 200 x 100.
    np.testing.assert_allclose(visible_shares(found, FAR), [1, 50 / 80, 200 * 100 / 320**2])


def test_a_box_that_reaches_the_edge_is_cut() -> None:
    found = faces(200, 100, (1, 1, 199, 99), (0, 1, 50, 50), (1, -2, 50, 50), (150, 50, 200, 99))
    assert are_cut(found).tolist() == [False, True, True, True]


def test_degenerate_boxes_and_no_box_at_all_have_chips_all_the_same() -> None:
    image = DecodedImage.whole(coordinates(20, 10))
    strange = boxes((5, 5, 5, 5), (-50, -50, -40, -40), (100, 100, 300, 300), (9, 9, 3, 3))
    assert cut_margin_chips(image, strange, NEAR).shape == (4, 80, 80, 3)
    assert cut_margin_chips(image, boxes(), NEAR).shape == (0, 80, 80, 3)
    one = DecodedImage.whole(coordinates(1, 1))
    assert cut_margin_chips(one, boxes((0, 0, 1, 1)), FAR).shape == (1, 80, 80, 3)
