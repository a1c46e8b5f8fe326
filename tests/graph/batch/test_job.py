"""The resources that Ray sets aside for an actor which embeds photos."""

import pytest

from configs.detector import DetectorConfig
from configs.model import Device
from configs.recognizer import RecognizerConfig
from deployments.errors import FaceGraphError
from graph.batch.job import _actors, any_takes_gpu
from tests.deployments.inference.test_choice import CPU, CUDA, Computer

GPU = Computer(torch_gpu=True, onnxruntime_providers=(CUDA, CPU))
# The CPU build of ONNX Runtime beside a GPU.
HALF = Computer(torch_gpu=True)


@pytest.mark.parametrize(
    ("recognizer", "device", "machine", "expected"),
    [
        ("arcface-mbf", "auto", GPU, True),
        ("arcface-mbf", "auto", HALF, False),
        ("arcface-ir50", "auto", HALF, True),
        ("arcface-ir50", "auto", Computer(), False),
        ("arcface-ir50", "cpu", GPU, False),
    ],
)
def test_a_gpu_is_asked_for_if_auto_means_one(
    recognizer: str, device: Device, machine: Computer, expected: bool
) -> None:
    models = [
        DetectorConfig(model="retinaface-mnet025", device=device),
        RecognizerConfig(model=recognizer, device=device),
    ]
    assert any_takes_gpu(models, machine) is expected


def test_as_many_actors_as_the_scarcest_resource_has_room_for() -> None:
    assert _actors({"CPU": 2, "GPU": 1}, {"CPU": 64.0, "GPU": 3.0}) == 3
    assert _actors({"CPU": 2, "GPU": 0}, {"CPU": 7.0}) == 3
    with pytest.raises(FaceGraphError, match="an actor needs"):
        _actors({"CPU": 1, "GPU": 1}, {"CPU": 7.0})
