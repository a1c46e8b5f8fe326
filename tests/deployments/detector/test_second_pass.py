"""Faces that only the second pass finds: those that fill the photo, and small ones."""

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig, SecondPass
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector import Detector, load_detector
from deployments.detector.preprocess import PAD_COLOUR, framed_input, resized_input
from deployments.images.decode import DecodedImage
from deployments.inference.backend import Backend
from tests.support.photos import GDP, YAOMING, photo

# The box of the face of 32 pixels in `crowd`.
SMALL_FACE = (921, 721, 953, 764)


class RecordingBackend:
    """A real backend that records the input shapes of its runs."""

    def __init__(self, backend: Backend) -> None:
        self.choice = backend.choice
        self.sizes: list[tuple[int, ...]] = []
        self._backend = backend

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        self.sizes.append(pixels.shape[:3])
        return self._backend.run(pixels)


@pytest.fixture(scope="module")
def loaded() -> Detector:
    return load_detector()


@pytest.fixture(scope="module")
def close_up() -> ByteArray:
    """A face of the photo cut out without any margin: 640 x 427 pixels."""
    return enlarged(photo(GDP)[276:321, 1:31], 427, 640)


@pytest.fixture(scope="module")
def crowd() -> ByteArray:
    """A photo of 2000 x 1500 pixels with one small face."""
    canvas = np.full((1500, 2000, 3), 120, np.uint8)
    small = cv2.resize(photo(YAOMING), (70, 87), interpolation=cv2.INTER_AREA)
    canvas[700:787, 900:970] = small
    return canvas


def enlarged(pixels: ByteArray, width: int, height: int) -> ByteArray:
    size = (width, height)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def detector(
    loaded: Detector, second_pass: SecondPass, *, max_side: int | None = 640
) -> tuple[Detector, RecordingBackend]:
    backend = RecordingBackend(loaded.backend)
    config = DetectorConfig(
        second_pass=second_pass, max_side=max_side, turned_faces=False, max_tiles=0
    )
    return Detector(config, model=loaded.model, backend=backend), backend


def overlap(found: Detections, face: tuple[float, float, float, float]) -> float:
    """Intersection over union of the best box with the face."""
    x1, y1, x2, y2 = found.boxes[0]
    width, height = min(x2, face[2]) - max(x1, face[0]), min(y2, face[3]) - max(y1, face[1])
    known = (face[2] - face[0]) * (face[3] - face[1])
    return float(width * height / ((x2 - x1) * (y2 - y1) + known - width * height))


@pytest.mark.parametrize("second_pass", ["pad", "both"])
def test_a_face_that_fills_the_photo_is_found_amid_a_frame(
    loaded: Detector, close_up: ByteArray, second_pass: SecondPass
) -> None:
    assert len(detector(loaded, "none")[0].detect(close_up)) == 0
    detecting, backend = detector(loaded, second_pass)
    found = detecting.detect(close_up)
    assert len(found) == 1
    assert overlap(found, (0, 0, 427, 640)) > 0.75
    assert (found.landmarks > 0).all()
    assert (found.landmarks < (427, 640)).all()
    # Half the size, and a frame of half the longer side around it.
    assert backend.sizes == [(1, 640, 427), (1, 320 + 320, 214 + 320)]


def test_a_small_face_is_found_at_a_larger_size(loaded: Detector, crowd: ByteArray) -> None:
    assert len(detector(loaded, "pad")[0].detect(crowd)) == 0
    detecting, backend = detector(loaded, "enlarge")
    found = detecting.detect(crowd)
    assert len(found) == 1
    assert overlap(found, SMALL_FACE) > 0.6
    assert backend.sizes == [(1, 480, 640), (1, 960, 1280)]


def test_only_photos_without_a_face_get_a_second_pass_and_answers_keep_their_order(
    loaded: Detector, close_up: ByteArray, crowd: ByteArray
) -> None:
    plain = np.full((64, 96, 3), 90, np.uint8)
    detecting, backend = detector(loaded, "both")
    found = detecting.detect_many([crowd, photo(YAOMING), plain, close_up])
    assert [len(faces) for faces in found] == [1, 1, 0, 1]
    assert overlap(found[0], SMALL_FACE) > 0.6
    assert overlap(found[3], (0, 0, 427, 640)) > 0.75
    framed, twice = (1, 64 + 96, 96 + 96), (1, 128, 192)
    assert [size for size in backend.sizes if max(size) < 200] == [(1, 64, 96), framed, twice]
    assert (1, 287, 233) in backend.sizes
    assert len(backend.sizes) == 4 + 2 + 2 + 1


def test_enlarge_skips_sizes_that_the_first_pass_has_covered(
    loaded: Detector, crowd: ByteArray
) -> None:
    detecting, backend = detector(loaded, "enlarge", max_side=None)
    detecting.detect(np.full_like(crowd, 120))
    assert backend.sizes == [(1, 1500, 2000)]
    detecting, backend = detector(loaded, "enlarge", max_side=1280)
    detecting.detect(np.full_like(crowd, 120))
    assert backend.sizes == [(1, 960, 1280)]


def test_the_frame_has_the_colour_that_the_network_subtracts() -> None:
    pixels = np.full((20, 41, 3), (10, 200, 90), np.uint8)
    framed = framed_input(DecodedImage.whole(pixels), pad_multiple=32)
    frame = 20  # half of 41, rounded to even
    assert framed.pixels.shape == (64, 96, 3)  # 60 x 81 and padding
    inner = framed.pixels[frame : frame + 20, frame : frame + 41]
    assert (inner == pixels).all()
    assert (framed.pixels == PAD_COLOUR).all(axis=2).sum() == 64 * 96 - 20 * 41


def test_faces_come_back_from_frame_and_enlargement_in_the_photos_pixels() -> None:
    pixels = np.zeros((640, 1280, 3), np.uint8)
    face = Detections(
        np.asarray([[160, 160, 480, 320]], np.float32),
        np.asarray([0.9], np.float32),
        np.asarray([[[160, 160], [480, 160], [320, 240], [160, 320], [480, 320]]], np.float32),
    )
    framed = framed_input(DecodedImage.whole(pixels), pad_multiple=1)
    assert framed.pixels.shape == (160 + 320, 640, 3)
    assert framed.to_photo(face).boxes.tolist() == [[0, 0, 1280, 640]]
    assert framed.to_photo(face).landmarks[0, 2].tolist() == [640, 320]
    twice = resized_input(DecodedImage.whole(pixels), side=2560, pad_multiple=1)
    assert twice.to_photo(face).boxes.tolist() == [[80, 80, 240, 160]]
