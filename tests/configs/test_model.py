"""The torch modes that a model's configuration accepts."""

import pytest
from pydantic import ValidationError

from configs.model import ModelConfig


def test_the_default_torch_mode_is_auto() -> None:
    assert ModelConfig(model="arcface-ir50").torch_mode == "auto"


def test_cuda_graphs_are_taken_for_checkpoints_on_a_gpu() -> None:
    for model in ("arcface-ir50", "retinaface-r50"):
        config = ModelConfig(
            model=model, torch_mode="cuda_graphs", device="cuda", precision="float16"
        )
        assert config.torch_mode == "cuda_graphs"


@pytest.mark.parametrize(
    "given",
    [
        {"model": "arcface-mbf"},
        {"model": "arcface-ir50", "runtime": "openvino"},
        {"model": "arcface-ir50", "runtime": "onnxruntime"},
    ],
)
def test_cuda_graphs_are_refused_for_other_runtimes(given: dict[str, str]) -> None:
    message = r"torch_mode: cuda_graphs needs a checkpoint in runtime torch or auto"
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({"torch_mode": "cuda_graphs", **given})


def test_cuda_graphs_are_refused_on_the_cpu() -> None:
    with pytest.raises(ValidationError, match="torch_mode: cuda_graphs needs device cuda"):
        ModelConfig(model="arcface-ir50", torch_mode="cuda_graphs", device="cpu")


def test_compile_is_refused_with_the_mode_to_take_instead() -> None:
    message = "torch_mode: compile is no longer supported; take auto"
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({"model": "arcface-ir50", "torch_mode": "compile"})
