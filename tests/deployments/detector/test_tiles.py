"""Small faces in large photos: the levels and tiles that are searched, and the faces found."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections, FaceChoice
from deployments.detector import Detector, load_detector
from deployments.detector.candidates import Candidates
from deployments.detector.detector import DetectionRequest, FirstPass
from deployments.detector.preprocess import NetworkInput
from deployments.detector.tiles import OVERLAP, Level, tile_levels, whole_faces
from deployments.images.decode import DecodedImage
from tests.support.photos import YAOMING, photo


def levels(width: int, height: int, **settings: float) -> list[Level]:
    limits = {"min_face_px": 24, "tile_side": 640, "max_tiles": 1000} | settings
    first_scale = min(1, 640 / max(width, height))
    return tile_levels(width, height, first_scale=first_scale, **limits)  # type: ignore[arg-type]


def test_small_photos_have_no_tiles() -> None:
    assert levels(640, 480) == []
    assert len(levels(1300, 900)) == 1


@pytest.mark.parametrize("size", [(4000, 3000), (1500, 6000), (30_000, 900)])
def test_tiles_cover_every_level_and_overlap(size: tuple[int, int]) -> None:
    found = levels(*size)
    assert found[-1].scale == 1.0
    scales = [640 / max(size), *(level.scale for level in found)]
    assert all(fine / coarse <= 4.001 for coarse, fine in pairwise(scales))
    for level in found:
        covered = np.zeros((level.height, level.width), np.uint8)
        for left, top, width, height in level.tiles:
            assert 0 <= left <= left + width <= level.width
            covered[top : top + height, left : left + width] += 1
        assert covered.min() == 1
        lefts = sorted({tile[0] for tile in level.tiles})
        assert all(after - before <= 640 - OVERLAP for before, after in pairwise(lefts))


def test_a_limit_of_tiles_makes_the_search_coarser() -> None:
    [level] = levels(4000, 3000, max_tiles=9)
    assert len(level.tiles) <= 9
    assert 0.16 < level.scale < 1.0
    assert levels(4000, 3000, max_tiles=0) == []


def test_a_photo_of_twelve_megapixels_is_searched_whole_by_default() -> None:
    found = levels(4000, 3000, max_tiles=DetectorConfig().max_tiles)
    assert found[-1].scale == 1.0


def test_a_tile_answers_for_whole_faces_of_up_to_its_overlap() -> None:
    """A box at an inner edge may be cut off; larger faces are the coarser level's."""
    level = Level(1.0, 1200, 640, ((0, 0, 640, 640), (560, 0, 640, 640)))
    tile = NetworkInput(np.zeros((640, 640, 3), np.uint8), 1, 1)
    boxes = [(0, 0, 40, 40), (610, 200, 640, 240), (200, 200, 200 + OVERLAP, 400)]
    boxes.append((200, 200, 201 + OVERLAP, 400))
    found = Detections(
        np.asarray(boxes, np.float32),
        np.full(4, 0.9, np.float32),
        np.zeros((4, 5, 2), np.float32),
    )
    kept = whole_faces(Candidates(found, np.zeros(4, np.float32)), tile, level)
    assert kept.detections.boxes.tolist() == [list(boxes[0]), list(boxes[2])]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(max_side=640)


@pytest.fixture(scope="module")
def panorama() -> ByteArray:
    """A panorama of 5000 x 600 pixels with 16 faces, 26 to 110 pixels wide, one upside down."""
    canvas = np.full((600, 5000, 3), 120, np.uint8)
    for index in range(16):
        scale = 26 / 106 * (110 / 26) ** (index / 15)
        small = cv2.resize(photo(YAOMING), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if index == 10:
            small = small[::-1, ::-1]
        height, width = small.shape[:2]
        left, top = 20 + 310 * index, 30 + 17 * index
        canvas[top : top + height, left : left + width] = small
    return canvas


def first_pass(detector: Detector, request: DetectionRequest) -> FirstPass:
    [first] = detector.detect_first_pass([request])
    return first


def test_every_face_of_a_panorama_is_found_once(detector: Detector, panorama: ByteArray) -> None:
    found = detector.detect(panorama)
    lefts = np.sort(found.boxes[:, 0])
    assert len(found) == 16
    assert np.diff(lefts).min() > 250
    widths = found.boxes[:, 2] - found.boxes[:, 0]
    assert widths.min() < 30
    assert widths.max() > 100


def test_a_face_across_two_tiles_is_found_once(detector: Detector) -> None:
    small = cv2.resize(photo(YAOMING), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    canvas = np.full((600, 1900, 3), 120, np.uint8)
    for left in range(390, 650, 40):  # inner edges of tiles lie at 420 and 640
        pixels = canvas.copy()
        pixels[200 : 200 + small.shape[0], left : left + small.shape[1]] = small
        assert len(detector.detect(pixels)) == 1


def test_a_large_face_is_not_found_again_in_its_parts(detector: Detector) -> None:
    pixels = cv2.resize(photo(YAOMING), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(pixels.astype(np.uint8))) == 1


def test_the_search_tells_the_smallest_face(detector: Detector, panorama: ByteArray) -> None:
    image = DecodedImage.whole(panorama)
    smallest = detector.searched_down_to_px
    assert smallest(DetectionRequest(image, "all")) == 24
    assert smallest(DetectionRequest(image, "largest")) == pytest.approx(24 * 5000 / 640)
    config = DetectorConfig(max_tiles=4)
    limited = Detector(config, model=detector.model, backend=detector.backend)
    assert 24 < limited.searched_down_to_px(DetectionRequest(image, "all")) < 187
    portrait = DetectionRequest(DecodedImage.whole(photo(YAOMING)), "all")
    assert smallest(portrait) == 24


@pytest.mark.parametrize(
    ("width", "faces", "side"),
    [(500, "largest", 500), (1900, "largest", 1900), (4000, "largest", 1920), (4000, "all", 4000)],
)
def test_a_photo_is_decoded_with_the_pixels_that_its_search_shows(
    detector: Detector, width: int, faces: FaceChoice, side: int
) -> None:
    assert detector.decoded_side(width, width * 3 // 4, faces) == side
    config = DetectorConfig(max_tiles=0)
    whole = Detector(config, model=detector.model, backend=detector.backend)
    assert whole.decoded_side(width, width * 3 // 4, "all") == min(width, 1920)


def test_the_largest_face_needs_no_tiles_unless_there_is_no_other(detector: Detector) -> None:
    small = cv2.resize(photo(YAOMING), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    canvas = np.full((2250, 3000, 3), 120, np.uint8)
    canvas[900 : 900 + small.shape[0], 1200 : 1200 + small.shape[1]] = small
    request = DetectionRequest(DecodedImage.whole(canvas), "largest")
    first = first_pass(detector, request)
    assert not first.final
    assert len(detector.detect_further(request, first, max_batch_size=4)) == 1
