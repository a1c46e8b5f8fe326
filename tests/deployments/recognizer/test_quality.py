"""The default recognizer's qualities of a portrait and of its damaged versions."""

from functools import cache

import cv2
import numpy as np
import pytest

from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.detector import load_detector
from deployments.images.alignment import align
from deployments.images.quality import image_quality, sharpness
from deployments.recognizer import Recognizer, load_recognizer
from tests.support.photos import YAOMING, photo

LIMIT = RecognizerConfig().lowest_quality


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load_recognizer(runtime="onnxruntime")


@cache
def portrait() -> tuple[ByteArray, FloatArray]:
    """A photo whose largest face is about 105 px high, and its landmarks float32 [1,5,2]."""
    image = photo(YAOMING)
    return image, load_detector().detect(image).landmarks[:1]


def shrunk(image: ByteArray, face_px: int, interpolation: int) -> ByteArray:
    """The photo as from a face of so many pixels, at its own size again."""
    share = face_px / 105
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=interpolation), np.uint8)


def disc(size: int) -> ByteArray:
    """The image of a point that is out of focus."""
    kernel = cv2.circle(np.zeros((size, size), np.float32), (size // 2,) * 2, size // 2, 1.0, -1)
    return cv2.filter2D(portrait()[0], -1, kernel / kernel.sum()).astype(np.uint8)


def quality(recognizer: Recognizer, image: ByteArray) -> float:
    found = recognizer.embed(align(image, portrait()[1])).quality
    assert found is not None
    return float(found[0])


def test_clear_dark_and_small_faces_are_decided_on(recognizer: Recognizer) -> None:
    assert LIMIT is not None
    image = portrait()[0]
    dark = 255 * (image / 255) ** 3
    versions = [
        image,
        dark.astype(np.uint8),
        (image * 0.15).astype(np.uint8),
        shrunk(image, 32, cv2.INTER_LINEAR),
    ]
    assert min(quality(recognizer, version) for version in versions) >= LIMIT


def test_unrecognisable_faces_are_not(recognizer: Recognizer) -> None:
    assert LIMIT is not None
    image = portrait()[0]
    moved = cv2.blur(image, (25, 1)).astype(np.uint8)
    versions = [
        disc(25),
        moved,
        shrunk(image, 8, cv2.INTER_CUBIC),
        shrunk(image, 12, cv2.INTER_NEAREST),
    ]
    assert max(quality(recognizer, version) for version in versions) < LIMIT


def test_without_a_calibration_sharpness_alone_decides(recognizer: Recognizer) -> None:
    chips = align(*portrait())
    model = recognizer.model.model_copy(update={"quality": None})
    other = Recognizer(recognizer.config, model=model, backend=recognizer.backend, name="other")
    found = other.embed(chips).quality
    assert found is not None
    np.testing.assert_array_equal(found, image_quality(sharpness(chips)))


def test_min_quality_is_the_configured_one_else_the_catalogues() -> None:
    assert RecognizerConfig().lowest_quality == 0.5
    assert RecognizerConfig(min_quality=0.6).lowest_quality == 0.6
    assert RecognizerConfig(min_quality=0).lowest_quality is None
    assert RecognizerConfig(model="frfm").lowest_quality is None
