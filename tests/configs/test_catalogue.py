"""The catalogue is complete, and names its models when another is asked for."""

import pytest

from configs.catalogue import CATALOGUE, find_model


def test_every_model_has_a_source_and_a_licence() -> None:
    for model in CATALOGUE.values():
        assert model.package or model.modelscope
        assert model.licence
        assert model.fetch_command


def test_checkpoints_name_their_network_and_onnx_files_contain_it() -> None:
    for model in CATALOGUE.values():
        assert (model.network is None) == model.is_onnx


def test_every_recognizer_has_a_threshold_with_its_source() -> None:
    for model in CATALOGUE.values():
        if model.kind == "recognizer":
            assert model.threshold is not None
            assert model.threshold_source


def test_an_unknown_model_or_one_of_another_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="it has retinaface-mnet025, retinaface-r50"):
        find_model("arcface-mbf", "detector")
    with pytest.raises(ValueError, match="no recognizer 'arcfase'"):
        find_model("arcfase", "recognizer")
