import pytest
from pydantic import ValidationError

from configs.model import ModelConfig, TorchMode


def test_torch_runs_eagerly_unless_told_otherwise() -> None:
    assert ModelConfig(model="arcface-ir50").torch_mode == "eager"


@pytest.mark.parametrize("mode", ["compile", "cuda_graphs"])
def test_a_torch_mode_is_taken_for_checkpoints_on_a_gpu(mode: TorchMode) -> None:
    for model in ("arcface-ir50", "retinaface-r50"):
        config = ModelConfig(model=model, torch_mode=mode, device="cuda", precision="float16")
        assert config.torch_mode == mode


@pytest.mark.parametrize(
    "given",
    [
        {"model": "arcface-mbf", "torch_mode": "compile"},
        {"model": "arcface-ir50", "torch_mode": "compile", "runtime": "openvino"},
        {"model": "arcface-ir50", "torch_mode": "cuda_graphs", "runtime": "onnxruntime"},
    ],
)
def test_a_torch_mode_is_refused_for_other_runtimes(given: dict[str, str]) -> None:
    message = rf"torch_mode: {given['torch_mode']} needs a checkpoint in runtime torch or auto"
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(given)


def test_cuda_graphs_are_refused_on_the_cpu() -> None:
    with pytest.raises(ValidationError, match="torch_mode: cuda_graphs needs device cuda"):
        ModelConfig(model="arcface-ir50", torch_mode="cuda_graphs", device="cpu")
