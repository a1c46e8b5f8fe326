"""Classifiers: chips through ONNX files of the published layouts, in both runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.catalogue import Classification
from configs.graph import GraphConfig
from deployments.classifier.classifier import Classifier, classifier_from, scores_from
from deployments.contracts import ByteArray
from deployments.errors import InvalidImage, InvalidWeights, ModelUnavailable
from tests.support.classifiers import entry, save_classifier

LABELS = ["spoof_0", "live", "spoof_2"]
# Label k is channel k, in a twentieth of its bytes.
WEIGHT, BIAS = np.eye(3, dtype=np.float32) / 20, np.zeros(3, np.float32)


def loaded(file: Path, *, runtime: str = "auto", **classification: Any) -> Classifier:
    chip: dict[str, Any] = {"size": 80, "scale": 2.7, "labels": LABELS} | classification
    config = GraphConfig.model_validate(
        {
            "models": {"fas": entry(file, **chip)},
            "classifiers": {"fas": {"model": "fas", "runtime": runtime, "max_batch_faces": 2}},
        }
    )
    return classifier_from(config.classifiers["fas"])


def chips(*colours: tuple[int, int, int], size: int = 80) -> ByteArray:
    """One chip of each colour, B G R."""
    return np.broadcast_to(
        np.asarray(colours, np.uint8).reshape(-1, 1, 1, 3), (len(colours), size, size, 3)
    )


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_scores_are_the_softmax_of_bytes_in_bgr(tmp_path: Path, runtime: str) -> None:
    classifier = loaded(save_classifier(tmp_path / "fas.onnx", 80, WEIGHT, BIAS), runtime=runtime)
    scores = classifier.classify(chips((200, 100, 0), (0, 40, 0), (0, 0, 0)))
    powers = np.exp([[10, 5, 0], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_allclose(scores, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    first, none, last = classifier.classify_many(
        [chips((200, 100, 0)), chips(), chips((0, 40, 0), (0, 0, 0))]
    )
    assert none.shape == (0, 3)
    np.testing.assert_allclose(np.concatenate([first, last]), scores, atol=1e-6)


def test_a_file_of_one_score_has_one_label(tmp_path: Path) -> None:
    file = save_classifier(tmp_path / "one.onnx", 32, np.full((3, 1), 1 / 300), np.asarray([-1.0]))
    chip: dict[str, Any] = {"size": 32, "labels": ["live"], "activation": "sigmoid"}
    scores = loaded(file, **chip).classify(chips((100, 100, 100), (200, 200, 200), size=32))
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp([0, -1])), atol=1e-5)
    scores = loaded(file, **chip | {"activation": "none"}).classify(chips((150,) * 3, size=32))
    np.testing.assert_allclose(scores[:, 0], 0.5, atol=1e-5)


def test_extreme_outputs_have_scores_and_broken_ones_none() -> None:
    outputs = np.asarray([[1e4, -1e4, 0], [np.nan, 0, 0]], np.float32)
    softmax = scores_from(outputs, Classification(size=80, scale=1, labels=tuple(LABELS)))
    assert softmax[0].tolist() == [1, 0, 0]
    assert np.isnan(softmax[1]).all()
    sigmoid = Classification(size=80, scale=1, labels=tuple(LABELS), activation="sigmoid")
    assert scores_from(outputs, sigmoid)[0].tolist() == [1, 0, 0.5]


def test_a_file_that_does_not_fit_its_entry_is_refused(tmp_path: Path) -> None:
    file = save_classifier(tmp_path / "fas.onnx", 80, WEIGHT, BIAS)
    with pytest.raises(InvalidWeights, match=r"expected a float32 output \[\*, 2\], found output"):
        loaded(file, labels=["live", "spoof"])
    with pytest.raises(InvalidWeights, match=r"expected one float32 input \[\*, 3, 96, 96\]"):
        loaded(file, size=96)
    with pytest.raises(ModelUnavailable, match=r"gone\.onnx"):
        loaded(tmp_path / "gone.onnx")


def test_chips_of_another_size_are_refused(tmp_path: Path) -> None:
    classifier = loaded(save_classifier(tmp_path / "fas.onnx", 80, WEIGHT, BIAS))
    with pytest.raises(InvalidImage, match=r"expected uint8 \(N, 80, 80, 3\) BGR, got uint8"):
        classifier.classify(chips((0, 0, 0), size=112))
