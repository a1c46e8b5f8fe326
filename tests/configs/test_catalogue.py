import pytest

from configs.catalogue import CATALOGUE, find_model


def test_every_model_says_where_it_comes_from_and_under_which_licence() -> None:
    for model in CATALOGUE.values():
        assert model.package or model.modelscope
        assert model.licence
        assert model.fetch_command


def test_checkpoints_name_their_network_and_onnx_files_hold_it() -> None:
    for model in CATALOGUE.values():
        assert (model.network is None) == model.is_onnx


def test_every_recognizer_has_a_threshold_and_says_where_it_comes_from() -> None:
    for model in CATALOGUE.values():
        if model.kind == "recognizer":
            assert model.threshold is not None
            assert model.threshold_source


def test_a_model_that_is_not_there_or_of_another_kind_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="it has retinaface-mnet025, retinaface-r50"):
        find_model("arcface-mbf", "detector")
    with pytest.raises(ValueError, match="no recognizer 'arcfase'"):
        find_model("arcfase", "recognizer")
