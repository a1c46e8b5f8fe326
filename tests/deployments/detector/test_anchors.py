import math

import numpy as np
import pytest

from deployments.detector.anchors import anchors_for, decode_boxes, decode_landmarks

# 10 x 17 pixels: cells reach over the edge, 2 x 3 of 8 pixels, 1 x 2 of 16 and one of 32.
SMALL = [
    *((x, y, size, size) for y in (4, 12) for x in (4, 12, 20) for size in (16, 32)),
    *((x, 8, size, size) for x in (8, 24) for size in (64, 128)),
    *((16, 16, size, size) for size in (256, 512)),
]


def test_anchors_of_a_small_image_stand_on_cell_centres_finest_level_first() -> None:
    anchors = anchors_for(10, 17)
    assert anchors.dtype == np.float32
    assert anchors.tolist() == [list(map(float, anchor)) for anchor in SMALL]


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [
        (1, 1, 2 * 3),
        (32, 32, 2 * (16 + 4 + 1)),
        (33, 40, 2 * (5 * 5 + 3 * 3 + 2 * 2)),  # one pixel more is a cell more
        (640, 640, 16_800),
        (800, 1237, 2 * (100 * 155 + 50 * 78 + 25 * 39)),
    ],
)
def test_every_level_has_two_anchors_for_each_cell_begun(
    height: int, width: int, count: int
) -> None:
    assert anchors_for(height, width).shape == (count, 4)


def test_anchors_are_made_once_for_a_shape_and_cannot_be_written() -> None:
    assert anchors_for(48, 72) is anchors_for(48, 72)
    assert anchors_for(48, 72) is not anchors_for(72, 48)
    with pytest.raises(ValueError, match="read-only"):
        anchors_for(48, 72)[0, 0] = 0


def test_offsets_of_zero_decode_to_the_anchor_itself() -> None:
    anchors = np.asarray([[20, 30, 10, 16]], np.float32)
    zeros = np.zeros((1, 10), np.float32)
    assert decode_boxes(zeros[:, :4], anchors).tolist() == [[15, 22, 25, 38]]
    assert decode_landmarks(zeros, anchors).tolist() == [[[20, 30]] * 5]


def test_offsets_move_the_centre_by_tenths_and_scale_the_sides_by_powers() -> None:
    anchors = np.asarray([[20, 30, 10, 10]], np.float32)
    # Centre 20 + 1 * 0.1 * 10 and 30 - 2 * 0.1 * 10; sides 10 * e^(0.2 * 5 ln 2) and half of 10.
    offsets = np.asarray([[1, -2, 5 * math.log(2), -5 * math.log(2)]], np.float32)
    boxes = decode_boxes(offsets, anchors)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, [[11, 25.5, 31, 30.5]], rtol=1e-6)


def test_landmarks_move_by_tenths_of_the_anchors_sides() -> None:
    anchors = np.asarray([[20, 30, 10, 20]], np.float32)
    offsets = np.asarray([[-3, -3, 3, -3, 0, 0, -2, 3, 2, 3]], np.float32)
    expected = [[[17, 24], [23, 24], [20, 30], [18, 36], [22, 36]]]
    np.testing.assert_allclose(decode_landmarks(offsets, anchors), expected, rtol=1e-6)


def test_no_rows_decode_to_no_faces() -> None:
    anchors = np.zeros((0, 4), np.float32)
    assert decode_boxes(np.zeros((0, 4), np.float32), anchors).shape == (0, 4)
    assert decode_landmarks(np.zeros((0, 10), np.float32), anchors).shape == (0, 5, 2)
