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


def test_galleries_refuse_embeddings_of_another_length() -> None:
    with pytest.raises(ValidationError, match=r"gallery.enabled: a gives embeddings of 128"):
        graph(models={"own": OWN}, recognizers={"a": {"model": "own"}}, gallery={"enabled": True})


def test_a_file_in_the_home_folder_is_found() -> None:
    config = graph(models={"own": {**OWN, "weights_file": "~/own.onnx"}})
    assert Path(config.models["own"].weights_file) == Path.home() / "own.onnx"
