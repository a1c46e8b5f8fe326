"""ModelScope's published examples on the CPU profile, with stand-in weights.

Their results are compared with those of the same networks called without the graph.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections
from deployments.detector.detector import detector_from
from deployments.detector.postprocess import choose
from deployments.images.alignment import align
from deployments.recognizer import load_recognizer
from graph import FaceGraph
from graph.cluster.launch import RunningGraph
from graph.modelscope import OutputKeys, Tasks, pipeline
from tests.support.applications import added
from tests.support.photos import YAOMING, photo, photo_path
from tests.support.profiles import ROOT
from tests.support.published_models import save_models, with_stand_ins

RECOGNIZERS = {
    "damo/cv_ir50_face-recognition_arcface": "arcface-ir50",
    "damo/cv_manual_face-recognition_frfm": "frfm",
    "damo/cv_manual_face-recognition_frir": "frir",
    "damo/cv_ir_face-recognition-ood_rts": "rts",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return save_models(folder, "retinaface-r50", *RECOGNIZERS.values())


@pytest.fixture(scope="module")
def graph(running: RunningGraph, models: Path) -> Iterator[FaceGraph]:
    profile = yaml.safe_load((ROOT / "configs/profiles/full-cpu.yaml").read_text())
    with added(
        running, with_stand_ins(profile["applications"][0], name="full", models=models)
    ) as full:
        yield FaceGraph.connect(full.app_name)


@pytest.fixture(scope="module")
def found(models: Path) -> Detections:
    """The detector's boxes, always the same ones, although stand-in weights find no real faces."""
    weights = models / "retinaface-r50"
    config = DetectorConfig(model="retinaface-r50", weights=weights, preset="published")
    detections = detector_from(config).detect(photo(YAOMING))
    assert len(detections) > 0
    return detections


@pytest.fixture(scope="module")
def chips(found: Detections) -> ByteArray:
    return align(photo(YAOMING), choose(found, "largest").landmarks)


@pytest.mark.parametrize("model_id", RECOGNIZERS)
def test_a_recognition_example_runs_on_the_graph(
    graph: FaceGraph, models: Path, chips: ByteArray, model_id: str
) -> None:
    recognize = pipeline(Tasks.face_recognition, model_id, graph=graph)
    answer = recognize(str(photo_path(YAOMING)))
    model = RECOGNIZERS[model_id]
    expected = load_recognizer(model, weights=models / model).embed(chips)
    embedding = answer[OutputKeys.IMG_EMBEDDING]
    assert (embedding.dtype, embedding.shape) == (np.float32, (1, 512))
    np.testing.assert_allclose(embedding, expected.vectors, atol=1e-4)
    assert (OutputKeys.SCORES in answer) == (model == "rts")
    if expected.uncertainty is not None:
        assert answer[OutputKeys.SCORES][0][0] == pytest.approx(expected.uncertainty[0], abs=1e-4)


def test_the_detection_example_runs_on_the_graph(graph: FaceGraph, found: Detections) -> None:
    model_id = "damo/cv_resnet50_face-detection_retinaface"
    answer = pipeline(Tasks.face_detection, model_id, graph=graph)(photo(YAOMING))
    np.testing.assert_allclose(answer[OutputKeys.SCORES], found.scores, atol=1e-4)
    np.testing.assert_allclose(answer[OutputKeys.BOXES], found.boxes, atol=1e-2)
    points = found.landmarks.reshape(-1, 10)
    np.testing.assert_allclose(answer[OutputKeys.KEYPOINTS], points, atol=1e-2)
