import cv2
import numpy as np
import pytest

from configs.catalogue import QualityCalibration
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.images.alignment import align
from deployments.images.quality import (
    embedding_quality,
    faults,
    image_quality,
    sharpness,
    yaw_ratios,
)
from deployments.images.template import TEMPLATE
from tests.support.photos import YAOMING, photo

# Eyes, nose and mouth corners of the man on the photo, x y in its pixels.
LANDMARKS = np.asarray([[(89, 95), (136, 96), (112, 121), (92, 148), (132, 149)]], np.float32)


def floats(*values: float) -> FloatArray:
    return np.asarray(values, np.float32)


def chip() -> ByteArray:
    [face] = align(photo(YAOMING), LANDMARKS)
    return np.asarray(face, np.uint8)


def measured(*chips: ByteArray) -> list[float]:
    return [float(value) for value in sharpness(np.stack(chips))]


def waves(amplitude: float) -> ByteArray:
    """A grey chip: the sum of a cosine of 16 px across and one down."""
    wave = amplitude * np.cos(np.arange(112) * 2 * np.pi / 16)
    return np.repeat((128 + wave[:, None] + wave)[..., None].round(), 3, axis=2).astype(np.uint8)


def test_sharpness_is_the_second_difference_over_four_pixels_relative_to_contrast() -> None:
    # Four pixels are a quarter of the wave: 2 cos(a) - cos(a - 90) - cos(a + 90) = 2 cos(a). Its
    # root mean square is 2 / sqrt(2) for an amplitude of 1; both waves have a contrast of 1.
    [found] = measured(waves(60))
    assert found == pytest.approx(2**0.5, rel=0.04)


def test_contrast_and_brightness_do_not_count() -> None:
    face = chip()
    dark, pale = (face * 0.2).astype(np.uint8), (face * 0.4 + 140).astype(np.uint8)
    plain, *others = measured(face, dark, pale)
    assert others == pytest.approx([plain, plain], rel=0.12)


def test_each_kind_of_blur_takes_sharpness_away() -> None:
    face = chip()
    out_of_focus = [cv2.GaussianBlur(face, (0, 0), sigma).astype(np.uint8) for sigma in (2, 4, 8)]
    plain, *blurred = measured(face, *out_of_focus)
    assert [plain, *blurred] == sorted([plain, *blurred], reverse=True)
    assert blurred[-1] < 0.4 * plain


@pytest.mark.parametrize("size", [(25, 1), (1, 25)], ids=["across", "down"])
def test_motion_in_one_direction_is_seen(size: tuple[int, int]) -> None:
    face = chip()
    plain, moved = measured(face, cv2.blur(face, size).astype(np.uint8))
    assert moved < 0.6 * plain


def test_a_chip_of_one_colour_has_no_sharpness_and_no_quality() -> None:
    grey = np.full((1, 112, 112, 3), 90, np.uint8)
    assert sharpness(grey).tolist() == [0]
    assert image_quality(sharpness(grey))[0] < 1e-6


def test_no_chips_have_no_measures() -> None:
    none = sharpness(np.zeros((0, 112, 112, 3), np.uint8))
    assert none.shape == (0,)
    assert image_quality(none).shape == (0,)
    assert faults(Detections.none(), none, none) == []


def test_quality_is_the_logistic_function_of_both_logarithms() -> None:
    calibration = QualityCalibration(intercept=0, log_length=1, log_sharpness=2)
    # Odds are length * sharpness^2: 3, and 0.75.
    found = embedding_quality(floats(3, 3), floats(1, 0.5), calibration)
    np.testing.assert_allclose(found, [3 / 4, 0.75 / 1.75], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.filterwarnings("error")
def test_a_vector_of_length_0_has_no_quality() -> None:
    calibration = QualityCalibration(intercept=-16, log_length=6, log_sharpness=2)
    assert embedding_quality(floats(0), floats(0), calibration)[0] == pytest.approx(0, abs=1e-6)


def turned_aside(nose_x: float) -> FloatArray:
    """The template with level eyes 40 px apart and the nose that far from the middle."""
    return np.asarray([(36, 50), (76, 50), (56 + nose_x, 70), *TEMPLATE[3:]], np.float32)


def test_the_yaw_is_the_noses_way_from_the_middle_to_an_eye() -> None:
    faces = np.stack([turned_aside(0), turned_aside(10), turned_aside(-20), turned_aside(30)])
    np.testing.assert_allclose(yaw_ratios(faces), [0, 0.5, 1, 1.5], atol=1e-5)
    turned = np.stack([faces[1][:, ::-1], np.zeros((5, 2), np.float32)])
    np.testing.assert_allclose(yaw_ratios(turned), [0.5, 0], atol=1e-5)


def test_every_fault_is_told_of_the_face_that_has_it() -> None:
    sides = floats(100, 31, 100, 100, 100, 100, 32)
    corners = np.zeros((7, 2), np.float32)
    noses = (0, 0, 0, 0, 12, 25, 8)
    detections = Detections(
        np.concatenate([corners, corners + sides[:, None]], axis=1),
        np.ones(7, np.float32),
        np.stack([turned_aside(nose) for nose in noses]),
    )
    sharp, quality = floats(1, 1, 0.3, 1, 1, 1, 1), floats(0.9, 0.9, 0.2, 0.3, 0.9, 0.9, 0.9)
    assert faults(detections, sharp, quality) == [
        [],
        ["small"],
        ["blurred"],
        ["low_detail"],
        ["turned"],
        ["profile"],
        [],
    ]
