"""Face crops hold all that the chips need, and are no larger than that."""

import cv2
import numpy as np
import pytest

from configs.catalogue import ARCFACE_CHIP, Chip
from deployments.contracts import ByteArray, FloatArray
from deployments.detector import load_detector
from deployments.detector.crops import cut_crops, max_reduction
from deployments.images.alignment import align, align_crops
from deployments.images.decode import DecodedImage
from deployments.images.template import CHIP_SIZE, TEMPLATE
from tests.support.photos import GDP, PLAYERS, YAOMING, photo

DLIB = Chip(size=150, template="dlib", margin=0.25)


def noise(height: int, width: int) -> ByteArray:
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def template_at(scale: float, left: float, top: float) -> FloatArray:
    """Landmarks float32 [1,5,2] of a face with `scale` photo pixels per chip pixel."""
    landmarks: FloatArray = (TEMPLATE * scale + (left, top)).astype(np.float32)[None]
    return landmarks


def largest_difference(one: ByteArray, other: ByteArray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("name", [YAOMING, GDP, PLAYERS])
def test_chips_from_crops_are_those_from_the_photo(name: str) -> None:
    pixels = photo(name)
    landmarks = load_detector().detect(pixels).landmarks
    crops = cut_crops(DecodedImage.whole(pixels), landmarks)
    # Rounding to sixteenths of a pixel may differ by one step.
    assert largest_difference(align_crops(crops, landmarks), align(pixels, landmarks)) <= 1
    assert sum(crop.pixels.nbytes for crop in crops) < pixels.nbytes / 2


@pytest.mark.parametrize(
    ("left", "top"), [(-60, -50), (150, 170), (-30, 190), (400, 20), (-1000, -1000)]
)
def test_a_face_that_reaches_out_of_the_photo_is_black_there(left: float, top: float) -> None:
    pixels, landmarks = noise(240, 200), template_at(1.3, left, top)
    chips = align_crops(cut_crops(DecodedImage.whole(pixels), landmarks), landmarks)
    assert largest_difference(chips, align(pixels, landmarks)) <= 1


def test_crops_have_room_for_every_chip_that_is_cut_of_them() -> None:
    """dlib's chips reach further down than ArcFace's; each is as if it were cut alone."""
    pixels = cv2.GaussianBlur(noise(1500, 1500), (0, 0), 25).astype(np.uint8)
    for scale in (1.3, 3.1, 7.0):
        landmarks = template_at(scale, 150, 170)
        crops = cut_crops(DecodedImage.whole(pixels), landmarks, (ARCFACE_CHIP, DLIB))
        for chip in (ARCFACE_CHIP, DLIB):
            alone = align_crops(
                cut_crops(DecodedImage.whole(pixels), landmarks, (chip,)), landmarks, chip
            )
            assert largest_difference(align_crops(crops, landmarks, chip), alone) <= 2
    assert max_reduction(template_at(3.1, 0, 0)) == 3
    assert max_reduction(template_at(3.1, 0, 0), (ARCFACE_CHIP, DLIB)) == 2


def test_no_faces_give_no_crops_and_no_chips() -> None:
    none = np.zeros((0, 5, 2), np.float32)
    assert cut_crops(DecodedImage.whole(noise(50, 50)), none) == ()
    assert align_crops((), none).shape == (0, CHIP_SIZE, CHIP_SIZE, 3)
    assert max_reduction(none) == 1


def test_landmarks_that_coincide_give_a_chip_all_the_same() -> None:
    landmarks = np.full((1, 5, 2), (20, 30), np.float32)
    assert max_reduction(landmarks) == 1
    crops = cut_crops(DecodedImage.whole(noise(50, 50)), landmarks)
    assert align_crops(crops, landmarks).shape == (1, CHIP_SIZE, CHIP_SIZE, 3)


def test_a_crop_is_bounded_however_large_the_face() -> None:
    """A chip pixel covers 1 to 2 crop pixels each way: at most 224 pixels and a margin."""
    for scale in (1.99, 2.0, 5.3, 17.9):
        side = round(CHIP_SIZE * scale)
        image = DecodedImage.whole(np.zeros((side, side, 3), np.uint8))
        [crop] = cut_crops(image, template_at(scale, 0, 0))
        assert 112 <= max(crop.pixels.shape) <= 228


def test_a_large_face_is_averaged_over_all_of_its_pixels() -> None:
    """Averaged noise is grey; a chip interpolated from single pixels would still be noise."""
    pixels, landmarks = noise(1000, 1000), template_at(8, 40, 40)
    [plain] = align(pixels, landmarks)
    [averaged] = align_crops(cut_crops(DecodedImage.whole(pixels), landmarks), landmarks)
    assert plain.std() > 40
    assert averaged.std() < 15


def test_a_large_face_stays_in_its_place() -> None:
    scale, (left, top) = 6, (100, 50)
    pixels = np.zeros((800, 900, 3), np.uint8)
    for x, y in TEMPLATE * scale + (left, top):
        cv2.circle(pixels, (round(float(x)), round(float(y))), 24, (255, 255, 255), cv2.FILLED)
    landmarks = template_at(scale, left, top)
    [chip] = align_crops(cut_crops(DecodedImage.whole(pixels), landmarks), landmarks)
    for x, y in TEMPLATE:
        rows, columns = np.nonzero(chip[round(y) - 6 : round(y) + 7, :, 0] > 128)
        near = np.abs(columns - x) < 8
        assert columns[near].mean() == pytest.approx(x, abs=0.3)
        assert (rows[near] + round(y) - 6).mean() == pytest.approx(y, abs=0.3)


@pytest.mark.parametrize("reduction", [2, 4])
def test_crops_of_a_reduced_image_give_the_same_chips(reduction: int) -> None:
    coarse = cv2.GaussianBlur(noise(600, 800), (0, 0), 20).astype(np.uint8)
    height, width = coarse.shape[:2]
    small = cv2.resize(
        coarse, (width // reduction, height // reduction), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
    landmarks = template_at(4.0, 130, 70)
    [whole] = align_crops(cut_crops(DecodedImage.whole(coarse), landmarks), landmarks)
    reduced = DecodedImage(small, width=width, height=height, reduction=reduction)
    [chip] = align_crops(cut_crops(reduced, landmarks), landmarks)
    assert largest_difference(chip, whole) <= 2


@pytest.mark.parametrize(
    ("scales", "expected"), [((0.4,), 1), ((1.9,), 1), ((2.01,), 2), ((9.0, 4.2), 4)]
)
def test_the_smallest_face_limits_the_photos_reduction(
    scales: tuple[float, ...], expected: int
) -> None:
    landmarks = np.concatenate([template_at(scale, 0, 0) for scale in scales])
    assert max_reduction(landmarks) == expected
