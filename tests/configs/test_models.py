"""The section `models`: entries of the catalogue from the configuration."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.catalogue import CATALOGUE, Model
from configs.graph import GraphConfig

OWN: dict[str, Any] = {
    "kind": "recognizer",
    "title": "our own",
    "weights_file": "/models/own.onnx",
    "preprocessing": {"mean": [127.5, 127.5, 127.5], "scale": 128, "rgb": True},
    "licence": "Apache-2.0",
    "commercial_use": True,
    "embedding_size": 128,
    "threshold": 0.4,
    "threshold_source": "measured on our own pairs",
}
FACES = {
    "kind": "detector",
    "title": "our faces",
    "weights_file": "faces.onnx",
    "family": "retinaface",
    "preprocessing": {"mean": [104, 117, 123], "scale": 1, "rgb": False},
    "licence": "MIT",
}

LIVE: dict[str, Any] = {
    "kind": "classifier",
    "title": "our liveness",
    "weights_file": "live.onnx",
    "preprocessing": {"mean": [0, 0, 0], "scale": 1, "rgb": False},
    "licence": "Apache-2.0",
    "classification": {"size": 80, "scale": 2.7, "labels": ["spoof", "live"]},
}


def live(**classification: Any) -> dict[str, Any]:
    return {**LIVE, "classification": {**LIVE["classification"], **classification}}


def graph(**fields: Any) -> GraphConfig:
    return GraphConfig.model_validate(fields)


def fault(entry: dict[str, Any], name: str = "own") -> tuple[str, str]:
    """The path and the message of the only fault of an entry, which a pool uses."""
    with pytest.raises(ValidationError) as caught:
        graph(models={name: entry}, recognizers={"a": {"model": name}})
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


def test_stages_find_own_models_and_those_of_the_catalogue() -> None:
    config = graph(
        models={"own": OWN, "faces": FACES},
        detector={"model": "faces"},
        recognizers={"own": {"model": "own"}, "default": {}, "strict": {"model": "own"}},
    )
    assert config.detector.entry == Model.model_validate({**FACES, "id": "faces"})
    assert config.recognizers["own"].entry.id == "own"
    assert config.recognizers["own"].decision_threshold == 0.4
    assert config.recognizers["own"].threshold_source == "measured on our own pairs"
    assert config.recognizers["default"].entry is CATALOGUE["arcface-mbf"]


def test_own_models_come_through_json_unchanged() -> None:
    config = graph(models={"own": OWN}, detector={}, recognizers={"a": {"model": "own"}})
    assert GraphConfig.model_validate_json(config.model_dump_json()) == config
    assert "own_models" not in config.model_dump_json()


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in OWN.items() if name != field}


@pytest.mark.parametrize(
    ("entry", "path", "message"),
    [
        ({**OWN, "thresold": 1}, "models.own.thresold", "did you mean 'threshold'"),
        ({**OWN, "threshold": 2}, "models.own.threshold", "less than or equal to 1"),
        ({**OWN, "kind": "recogniser"}, "models.own.kind", "did you mean 'recognizer'"),
        ({**OWN, "sha256": "abc"}, "models.own.sha256", "match pattern"),
        (without("licence"), "models.own.licence", "required"),
        (without("threshold"), "models.own", "threshold: a recognizer needs one"),
        (without("threshold_source"), "models.own", "threshold_source: a threshold needs"),
        ({**OWN, "family": "retinaface"}, "models.own", "family: only detectors"),
        ({**OWN, "network": "iresnet50"}, "models.own", "network: an ONNX file contains"),
        ({**OWN, "weights_file": "a.pt"}, "models.own", "network: a checkpoint needs"),
        (
            {**OWN, "preprocessing": {**OWN["preprocessing"], "scale": 0}},
            "models.own.preprocessing.scale",
            "greater than 0",
        ),
        ({**FACES, "family": None}, "models.own", "family: a detector needs one"),
        ({**FACES, "threshold": 0.5}, "models.own", "threshold: only recognizers"),
        ({**OWN, "kind": "classifier"}, "models.own", "classification: every classifier needs it"),
        ({**OWN, "classification": LIVE["classification"]}, "models.own", "and nothing else"),
        ({**LIVE, "threshold": 0.5}, "models.own", "threshold: only recognizers have one; see"),
        ({**LIVE, "weights_file": "a.pt"}, "models.own", "a classifier needs an ONNX file"),
        (live(scale=0.5), "models.own.classification.scale", "greater than or equal to 1"),
        (live(labels=[]), "models.own.classification.labels", "at least 1"),
        (live(labels=["a", "a"]), "models.own.classification", "labels: a label is there twice"),
        (live(labels=["a"]), "models.own.classification", "activation: softmax of one label"),
        (live(activation="soft"), "models.own.classification.activation", "'softmax'"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_field(
    entry: dict[str, Any], path: str, message: str
) -> None:
    where, said = fault(entry)
    assert where == path
    assert message in said


def test_an_entry_cannot_take_the_place_of_a_catalogues() -> None:
    assert fault(OWN, "arcface-mbf") == (
        "models",
        "Value error, arcface-mbf: the catalogue has a model of this id; take another",
    )


def test_a_stage_that_names_a_model_of_another_kind_is_told_the_right_ones() -> None:
    with pytest.raises(ValidationError, match=r"no recognizer .faces. in the catalogue.*own"):
        graph(models={"own": OWN, "faces": FACES}, recognizers={"a": {"model": "faces"}})


def test_a_file_in_the_home_folder_is_found() -> None:
    config = graph(models={"own": {**OWN, "weights_file": "~/own.onnx"}})
    assert Path(config.models["own"].weights_file) == Path.home() / "own.onnx"


def judged(liveness: dict[str, Any] | None = None, **pool: Any) -> GraphConfig:
    return graph(
        models={"own": LIVE}, classifiers={"near": {"model": "own", **pool}}, liveness=liveness
    )


def test_classifier_pools_find_own_models_and_liveness_its_pools() -> None:
    config = judged({"classifiers": ["near"], "threshold": 0.6})
    assert config.classifiers["near"].entry.id == "own"
    assert config.classifiers["near"].smallest_face_px == pytest.approx(80 / 2.7)
    assert judged(min_face_px=50).classifiers["near"].smallest_face_px == 50
    assert judged().liveness is None
    again = GraphConfig.model_validate_json(config.model_dump_json())
    assert again.classifiers == config.classifiers


@pytest.mark.parametrize(
    ("liveness", "message"),
    [
        (
            {"classifiers": ["neer"], "threshold": 0.6},
            "liveness.classifiers: 'neer' is not among classifiers (near) (did you mean 'near'?)",
        ),
        (
            {"classifiers": ["near"], "threshold": 0.6, "label": "real"},
            "liveness.label: near has no label 'real'; it has spoof, live",
        ),
        ({"classifiers": ["near"], "threshold": 1}, "less than 1"),
        ({"classifiers": ["near"]}, "required"),
    ],
)
def test_liveness_that_no_pool_can_judge_is_refused(liveness: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        judged(liveness)
    assert message in caught.value.errors()[0]["msg"]


def test_a_pool_of_an_unknown_classifier_is_told_where_they_come_from() -> None:
    with pytest.raises(ValidationError, match="no classifier 'live' in the catalogue; it has none"):
        graph(classifiers={"near": {"model": "live"}})
