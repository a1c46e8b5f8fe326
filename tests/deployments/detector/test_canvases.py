"""Photos on canvases in PyTorch, against the same network on photos as they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections
from deployments.detector import Detector
from deployments.detector.detector import DetectionRequest, detector_from
from deployments.detector.postprocess import Rows, lowest_row_score
from deployments.images.decode import DecodedImage
from deployments.inference import torch_runtime
from deployments.inference.backend import CanvasBackend
from deployments.inference.torch_runtime import smallest_canvas
from tests.support import parity
from tests.support.gpu import on_gpu
from tests.support.published_models import kept_while_used, save_plain

CANVASES = ((96, 128), (160, 160))
SIZES = ((96, 128), (33, 41), (128, 90), (71, 128), (200, 96))
# float32 numbers of this size lie 1.5e-5 apart, and padding changes the order of sums.
PIXELS, SCORES = 1e-3, 1e-5
HALF_SCORES = 6e-3


def settings(folder: Path, **changed: Any) -> DetectorConfig:
    """With stand-in weights nearly every anchor scores high: hundreds of rows a photo."""
    config = {
        "model": "retinaface-r50",
        "weights": folder,
        "runtime": "torch",
        "device": "cpu",
        "canvases": CANVASES,
        "max_batch_photos": 4,
        "score_threshold": 0.8,
        "max_tiles": 0,
    }
    return DetectorConfig.model_validate(config | changed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with kept_while_used(tmp_path_factory.mktemp("retinaface-r50")) as folder:
        save_plain(folder, parity.published_entries("retinaface_r50"))
        yield folder


@pytest.fixture(scope="module")
def detectors(folder: Path) -> tuple[Detector, Detector]:
    """On canvases, and without."""
    return detector_from(settings(folder)), detector_from(settings(folder, canvases=()))


@pytest.fixture(scope="module")
def photos() -> list[ByteArray]:
    return [parity.photo(*size, seed=seed) for seed, size in enumerate(SIZES)]


def rows_of(detector: Detector, photos: Sequence[ByteArray]) -> list[Rows]:
    inputs = [detector.first_input(DecodedImage.whole(photo)) for photo in photos]
    return detector.look(inputs, ["all"] * len(photos))


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=SCORES)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=PIXELS)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, rtol=0, atol=PIXELS)


def test_photos_on_canvases_have_no_coarse_look(detectors: tuple[Detector, Detector]) -> None:
    """There it would cost as much as a look at the whole photo."""
    request = DetectionRequest(DecodedImage.whole(parity.photo(400, 400)), "largest")
    on_canvases, alone = (next(one.first_looks(request)).pixels.shape for one in detectors)
    assert (on_canvases, alone) == ((400, 400, 3), (160, 160, 3))


def test_photos_of_any_shape_have_the_candidates_that_they_have_without_a_canvas(
    detectors: tuple[Detector, Detector], photos: list[ByteArray]
) -> None:
    on_canvases, alone = detectors
    assert isinstance(on_canvases.backend, CanvasBackend)
    assert not isinstance(alone.backend, CanvasBackend)
    both = zip(rows_of(on_canvases, photos), rows_of(alone, photos), strict=True)
    for found, expected in both:
        assert_same(found.candidates.detections, expected.candidates.detections)
        np.testing.assert_allclose(
            found.candidates.spread, expected.candidates.spread, rtol=0, atol=1e-4
        )


@on_gpu
def test_a_gpu_finds_the_same_candidates_in_float32_and_near_ones_in_float16(
    folder: Path, detectors: tuple[Detector, Detector], photos: list[ByteArray]
) -> None:
    expected = rows_of(detectors[1], photos)
    exact = detector_from(settings(folder, device="cuda"))
    for found, wanted in zip(rows_of(exact, photos), expected, strict=True):
        assert_same(found.candidates.detections, wanted.candidates.detections)
    half = detector_from(settings(folder, device="cuda", precision="float16"))
    for found, wanted in zip(rows_of(half, photos), expected, strict=True):
        best, known = found.candidates.detections, wanted.candidates.detections
        np.testing.assert_allclose(best.scores[:1], known.scores[:1], rtol=0, atol=HALF_SCORES)


def test_a_batch_of_other_photos_changes_no_answer(
    detectors: tuple[Detector, Detector], photos: list[ByteArray]
) -> None:
    on_canvases, _ = detectors
    together = rows_of(on_canvases, photos)
    for photo, found in zip(photos, together, strict=True):
        [alone] = rows_of(on_canvases, [photo])
        assert_same(found.candidates.detections, alone.candidates.detections)


def test_a_photo_is_detected_on_canvases_from_decoding_to_faces(
    detectors: tuple[Detector, Detector], photos: list[ByteArray]
) -> None:
    upright = {"turned_faces": False}
    found, expected = (
        Detector(one.config.model_copy(update=upright), model=one.model, backend=one.backend)
        for one in detectors
    )
    for one, other in zip(found.detect_many(photos), expected.detect_many(photos), strict=True):
        assert_same(one, other)


def test_a_photo_with_more_rows_than_come_down_first_has_them_all(
    detectors: tuple[Detector, Detector],
    photos: list[ByteArray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = detectors[0].backend
    assert isinstance(backend, CanvasBackend)
    whole = backend.rows(photos)
    assert max(map(len, whole)) > 256
    monkeypatch.setattr(torch_runtime, "_FIRST_ROWS", 8)
    for found, expected in zip(backend.rows(photos), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rows_fall_by_score_and_reach_down_to_the_lowest(
    detectors: tuple[Detector, Detector], photos: list[ByteArray]
) -> None:
    detector = detectors[0]
    assert isinstance(detector.backend, CanvasBackend)
    [rows] = detector.backend.rows(photos[:1])
    assert rows.shape[1] == 15
    assert (np.diff(rows[:, 0]) <= 0).all()
    assert rows[-1, 0] > lowest_row_score(detector.config) == np.float32(0.05)


@pytest.mark.parametrize(
    ("size", "canvas"),
    [((96, 128), (96, 128)), ((97, 20), (160, 160)), ((1, 1), (96, 128)), ((161, 70), (192, 96))],
)
def test_a_photo_lies_on_the_smallest_canvas_that_holds_it(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert smallest_canvas(size, CANVASES) == canvas


def test_default_canvases_hold_every_first_pass_on_cuda_and_there_are_none_on_the_cpu() -> None:
    small = DetectorConfig()
    assert small.canvases_on("cuda") == ((480, 640), (640, 480), (640, 640))
    assert small.canvases_on("cpu") == ()
    published = DetectorConfig(preset="published").canvases_on("cuda")
    assert max(published) == (1504, 1504)
    assert [max(canvas) for canvas in published[::3]] == [1504, 1024, 672]
    assert DetectorConfig(canvases=()).canvases_on("cuda") == ()


@pytest.mark.parametrize("canvases", [[[100, 64]], [[64]], [[0, 64]]])
def test_a_canvas_of_other_sides_is_refused(canvases: list[list[int]]) -> None:
    with pytest.raises(ValidationError):
        DetectorConfig.model_validate(
            {"model": "retinaface-r50", "runtime": "torch", "canvases": canvases}
        )


def test_canvases_in_another_runtime_are_refused() -> None:
    with pytest.raises(ValidationError, match="canvases need runtime: torch"):
        DetectorConfig(canvases=((64, 64),))
