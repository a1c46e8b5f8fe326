"""Entries proposed for ONNX files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from configs.catalogue import (
    CATALOGUE,
    RECOGNIZER_PREPROCESSING,
    SCRFD_PREPROCESSING,
    Classification,
    Preprocessing,
)
from deployments.errors import InvalidWeights
from graph.evaluation.classifier_proposal import Told
from graph.evaluation.proposal import propose
from tests.support.classifiers import save_classifier
from tests.support.photos import photo_path

DEFAULT = photo_path("w600k_mbf.onnx")


def normalising(model: ModelProto) -> ModelProto:
    """The file with (x - 127.5) / 127.5 inside, as some publish theirs."""
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["planes" if given == name else given for given in node.input]
    steps = [
        helper.make_node("Sub", [name, "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "middle"], ["planes"]),
    ]
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(helper.make_tensor("middle", TensorProto.FLOAT, [1], [127.5]))
    return model


def test_the_default_recognizers_file_finds_its_own_normalisation() -> None:
    found = propose(DEFAULT)
    model, usual = found.model, CATALOGUE["arcface-mbf"]
    assert model.preprocessing == usual.preprocessing == RECOGNIZER_PREPROCESSING
    assert (model.id, model.kind, model.embedding_size) == ("w600k_mbf", "recognizer", 512)
    assert model.commercial_use is False
    assert model.threshold == pytest.approx(0.5, abs=0.1)
    best, *others = found.trials
    assert best.same == pytest.approx(0.632, abs=0.02)
    assert all(trial.margin <= best.margin + 0.02 for trial in others)


def test_a_file_that_normalises_by_itself_is_given_plain_bytes(tmp_path: Path) -> None:
    path = tmp_path / "Our own.onnx"
    onnx.save(normalising(onnx.load(str(DEFAULT))), str(path))
    found = propose(path)
    preprocessing = found.model.preprocessing
    assert (found.model.id, found.model.commercial_use) == ("our-own", None)
    assert (preprocessing.mean, preprocessing.scale, preprocessing.rgb) == ((0, 0, 0), 1, True)


def first_numbers(model: ModelProto, count: int) -> ModelProto:
    """The file with the first numbers of its embedding as its output."""
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["whole" if name == output.name else name for name in node.output]
    ends = {"first": [0], "last": [count], "axis": [1]}
    for name, value in ends.items():
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], value))
    model.graph.node.append(helper.make_node("Slice", ["whole", *ends], [output.name]))
    output.type.tensor_type.shape.dim[1].dim_value = count
    return model


def test_sface_has_its_published_licence_and_threshold(tmp_path: Path) -> None:
    path = tmp_path / "face_recognition_sface_2021dec.onnx"  # a stand-in with SFace's layout
    onnx.save(first_numbers(onnx.load(str(DEFAULT)), 128), str(path))
    model = propose(path).model
    assert (model.embedding_size, model.threshold, model.commercial_use) == (128, 0.363, True)
    assert model.licence.startswith("Apache-2.0")


def test_a_detector_is_known_by_its_outputs() -> None:
    model = propose(photo_path("scrfd_500m_bnkps.onnx"), model_id="faces").model
    assert (model.id, model.kind, model.family) == ("faces", "detector", "scrfd")
    assert model.preprocessing == SCRFD_PREPROCESSING


@pytest.mark.parametrize("name", ["2d106det.onnx", "dist_cosine.onnx"])
def test_another_network_is_refused(name: str) -> None:
    with pytest.raises(InvalidWeights, match=name):
        propose(photo_path(name))


def classifier(path: Path, size: int, labels: int) -> Path:
    """A stand-in's file."""
    return save_classifier(path, size, np.zeros((3, labels)), np.zeros(labels))


@pytest.mark.parametrize(
    ("name", "scale"), [("2.7_80x80_MiniFASNetV2", 2.7), ("4_0_0_80x80_MiniFASNetV1SE", 4.0)]
)
def test_minifasnets_are_known_by_their_published_names(
    tmp_path: Path, name: str, scale: float
) -> None:
    model = propose(classifier(tmp_path / f"{name}.onnx", 80, 3)).model
    assert model.classification == Classification(
        size=80, scale=scale, labels=("spoof_0", "live", "spoof_2")
    )
    assert model.preprocessing == Preprocessing(mean=(0, 0, 0), scale=1, rgb=False)
    assert (model.kind, model.commercial_use) == ("classifier", True)


def test_another_classifier_is_what_its_owner_tells(tmp_path: Path) -> None:
    path = classifier(tmp_path / "mask.onnx", 96, 1)
    told = Told(("mask",), 1.5, RECOGNIZER_PREPROCESSING)
    model = propose(path, told=told).model
    assert model.classification == Classification(
        size=96, scale=1.5, labels=("mask",), activation="sigmoid"
    )
    assert model.preprocessing == RECOGNIZER_PREPROCESSING
    ending = onnx.load(str(path))
    ending.graph.node[-1].output[0] = "logits"
    ending.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["output"]))
    onnx.save(ending, str(path))
    found = propose(path, told=told).model.classification
    assert found
    assert found.activation == "none"


def test_what_a_classifiers_file_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    path = classifier(tmp_path / "2.7_80x80_MiniFASNetV2.onnx", 80, 2)  # two outputs: not theirs
    with pytest.raises(InvalidWeights, match="--label for each of 2 outputs, in order, --scale"):
        propose(path)
    with pytest.raises(InvalidWeights, match="give --normalisation"):
        propose(path, told=Told(("live", "spoof"), 2.7))
    with pytest.raises(InvalidWeights, match=r"genderage\.onnx: its outputs are not scores"):
        propose(classifier(tmp_path / "genderage.onnx", 96, 3))
