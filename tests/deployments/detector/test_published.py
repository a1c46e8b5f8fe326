"""The published detector, loaded from a checkpoint in a folder, in every runtime."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from configs.detector import DetectorConfig
from configs.model import Runtime
from deployments.contracts import ByteArray, FloatArray
from deployments.detector import Detector, load_detector
from deployments.detector.anchors import anchors_for, decode_boxes, decode_landmarks
from deployments.detector.detector import detector_from
from deployments.detector.preprocess import first_pass_side, resized_input
from deployments.errors import InvalidConfig, InvalidWeights, ModelUnavailable
from deployments.images.decode import DecodedImage
from deployments.inference.machine import Machine
from deployments.weights.checkpoints import load_entries
from tests.support import parity
from tests.support.published_models import kept_while_used, save_safetensors, save_wrapped

MODEL = "retinaface-r50"
TOLERANCE = 1e-4
PIXELS = 5e-4  # boxes reach to 580 pixels; float32 numbers of that size lie 6e-5 apart


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with kept_while_used(tmp_path_factory.mktemp(MODEL)) as folder:
        save_wrapped(folder, parity.published_entries("retinaface_r50"))
        yield folder


@pytest.fixture(scope="module", params=["torch", "onnxruntime", "openvino"])
def detector(request: pytest.FixtureRequest, folder: Path) -> Detector:
    runtime: Runtime = request.param
    return load_detector(MODEL, weights=folder, runtime=runtime)


@pytest.fixture(scope="module")
def rows(detector: Detector, photo: ByteArray) -> tuple[FloatArray, ...]:
    return detector.backend.run(photo[None])


@pytest.fixture(scope="module")
def photo() -> ByteArray:
    return parity.photo(256, 320)


def test_the_runtime_is_the_one_asked_for(
    detector: Detector, request: pytest.FixtureRequest
) -> None:
    assert detector.backend.choice.runtime in request.node.name


def test_raw_answers_are_those_of_the_published_network(rows: tuple[FloatArray, ...]) -> None:
    for answer, name in zip(rows, ("loc", "conf", "landms"), strict=True):
        assert answer.dtype == np.float32
        assert parity.difference(answer[0], f"retinaface_r50.{name}") < TOLERANCE


def test_decoded_answers_are_those_of_the_published_code(rows: tuple[FloatArray, ...]) -> None:
    loc, _, landmarks = rows
    anchors = anchors_for(256, 320)
    boxes = decode_boxes(loc[0], anchors)
    points = decode_landmarks(landmarks[0], anchors).reshape(-1, 10)
    assert parity.difference(boxes, "retinaface_r50.boxes_px") < PIXELS
    assert parity.difference(points, "retinaface_r50.landmarks_px") < PIXELS


def expected_faces() -> tuple[NDArray[np.float32], ...]:
    """Faces left by the published suppression: boxes, scores and landmarks, best first."""
    kept = parity.answers()["retinaface_r50.nms_keep"]
    names = ("boxes_px", "conf", "landmarks_px")
    boxes, conf, points = (parity.answers()[f"retinaface_r50.{name}"][kept] for name in names)
    return boxes, conf[:, 1], points.reshape(-1, 5, 2)


def test_the_faces_are_those_that_the_published_code_leaves(
    detector: Detector, photo: ByteArray
) -> None:
    # One anchor scores exactly the threshold, and the next one 9e-5 more.
    threshold = float(parity.answers()["retinaface_r50.nms_threshold_score"]) + 4e-5
    config = DetectorConfig(
        model=MODEL,
        preset="published",
        score_threshold=threshold,
        max_side=None,
        shrink_above=None,
        drop_below_px=0,
    )
    found = Detector(config, model=detector.model, backend=detector.backend).detect(photo)
    boxes, scores, landmarks = expected_faces()
    assert len(found) == len(scores) == 171
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.boxes, boxes, rtol=0, atol=PIXELS)
    np.testing.assert_allclose(found.landmarks, landmarks, rtol=0, atol=PIXELS)


def test_a_checkpoint_may_be_a_safetensors_file(folder: Path, tmp_path: Path) -> None:
    entries = load_entries(folder / "pytorch_model.pt")
    with kept_while_used(tmp_path):
        save_safetensors(tmp_path, entries)
        detector = load_detector(MODEL, weights=tmp_path, runtime="torch")
    loc, _, _ = detector.backend.run(np.zeros((2, 64, 96, 3), np.uint8))
    assert loc.shape == (2, 2 * (8 * 12 + 4 * 6 + 2 * 3), 4)


def test_on_the_cpu_a_detector_runs_in_onnx_runtime_unless_half_precision_is_asked_for(
    folder: Path,
) -> None:
    automatic = {"model": MODEL, "weights": folder, "device": "cpu"}
    assert detector_from(DetectorConfig(**automatic)).backend.choice.runtime == "onnxruntime"
    half = detector_from(DetectorConfig(**automatic, precision="bfloat16")).backend.choice
    runtime = "openvino" if Machine().native_bfloat16 else "torch"
    assert (half.runtime, half.device) == (runtime, "cpu")


def test_missing_weights_are_named_with_every_place_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        load_detector(MODEL, weights=tmp_path)
    message = caught.value.message
    assert message.startswith("retinaface-r50: no pytorch_model.pt; looked at ")
    assert str(tmp_path / "pytorch_model.pt") in message
    assert str(tmp_path / "model.safetensors") in message
    assert "facegraph models pull retinaface-r50" in message


def test_a_checkpoint_of_another_network_is_refused_by_file_and_entry(tmp_path: Path) -> None:
    save_safetensors(tmp_path, {"conv1.weight": torch.zeros(64, 3, 3, 3)})
    with pytest.raises(InvalidWeights, match=r"model\.safetensors does not fit RetinaFace: entry"):
        load_detector(MODEL, weights=tmp_path)


def test_the_published_preset_fills_in_what_is_not_given() -> None:
    config = DetectorConfig(preset="published", model=MODEL, score_threshold=0.8)
    assert (config.shrink_above, config.max_side) == (1500, 1000)
    assert (config.nms_iou, config.candidates, config.max_faces) == (0.4, 5000, 750)
    assert (config.drop_below_px, config.second_pass) == (10, "none")
    assert config.score_threshold == 0.8
    assert DetectorConfig(preset="published").score_threshold == 0.9
    assert DetectorConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(("width", "expected"), [(1500, 1500), (1501, 1000), (1000, 1000)])
def test_the_published_detector_shrinks_to_1000_only_from_over_1500(
    width: int, expected: int
) -> None:
    config = DetectorConfig(preset="published")
    side = first_pass_side(width, max_side=config.max_side, shrink_above=config.shrink_above)
    image = DecodedImage.whole(np.zeros((30, width, 3), np.uint8))
    item = resized_input(image, side=side, pad_multiple=config.pad_multiple)
    assert item.pixels.shape[1] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "publishd"}, "preset"),
        ({"preset": ["published"]}, "preset"),
        ({"shrink_above": 1500, "max_side": None}, "shrink_above: 1500 needs a max_side"),
        ({"shrink_above": 600}, "shrink_above: 600 needs a max_side that is not larger"),
        ({"runtime": "torch"}, "runtime: torch cannot run the ONNX file of retinaface-mnet025"),
        (
            {"precision": "bfloat16", "runtime": "onnxruntime"},
            "precision: bfloat16 needs runtime openvino on the cpu, or a checkpoint in runtime",
        ),
        (
            {"precision": "bfloat16", "device": "cuda"},
            "onnxruntime computes retinaface-mnet025 in float32",
        ),
        (
            {"model": MODEL, "runtime": "onnxruntime", "precision": "float16"},
            "precision: float16 needs a checkpoint in runtime torch",
        ),
        (
            {"model": MODEL, "device": "cpu", "precision": "float16"},
            "precision: float16 needs device cuda",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig.model_validate(settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "device: cuda, but PyTorch sees no GPU"),
        ({"precision": "float16"}, "precision: float16 needs a GPU.* retinaface-r50"),
        ({"torch_mode": "cuda_graphs"}, "torch_mode: cuda_graphs needs a GPU.* retinaface-r50"),
    ],
)
def test_a_gpu_that_is_not_there_is_asked_for_in_vain(
    folder: Path, settings: dict[str, object], message: str
) -> None:
    config = DetectorConfig.model_validate({"model": MODEL, "weights": folder, **settings})
    with pytest.raises(InvalidConfig, match=message):
        detector_from(config)
