"""PyTorch's backend on the CPU and, where there is one, on a GPU."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from configs.catalogue import CATALOGUE
from configs.model import ModelConfig
from deployments.contracts import ByteArray
from deployments.detector.network import RetinaFace
from deployments.detector.rows import BestRows
from deployments.inference.backend import ChosenDevice, ModelSpec, Network
from deployments.inference.choice import choose
from deployments.inference.machine import Machine
from deployments.inference.torch_device import Gpu, device_named
from deployments.inference.torch_runtime import TorchBackend, TorchCanvasBackend
from deployments.recognizer.iresnet import IResNet
from tests.support import parity
from tests.support.gpu import DEVICES, on_gpu

CHIPS = Network(lambda _: small_iresnet(), input_size=(112, 112), max_batch=lambda device: 3)
PHOTOS = Network(lambda _: Cells())
CANVASES = Network(
    lambda _: RetinaFace("mobilenet025"),
    max_batch=lambda device: 4,
    canvases=lambda device: ((64, 96), (96, 96)),
)
TOLERANCE = 1e-4
HALF = 6e-3  # of the detector's outputs, in float16


class Cells(nn.Module):
    """A small detector: two answers per cell, for photos of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [B,3,H,W] -> [B,N,2] twice, N = ceil(H/8) * ceil(W/8)."""
        cells = self.head(self.body(x).relu()).flatten(2).transpose(1, 2)
        return cells, cells.softmax(-1)


def small_iresnet() -> IResNet:
    return IResNet((1, 1, 1, 1))


def with_stand_ins(module: nn.Module) -> nn.Module:
    module.load_state_dict(parity.entries_for(module))
    return module


def spec(model: str, network: Network, **settings: Any) -> ModelSpec:
    config = ModelConfig(model=model, runtime="torch", **settings)
    choice = choose(CATALOGUE[model], config, network, Machine())
    return ModelSpec(CATALOGUE[model], config, network, choice, "stand-in")


def chips_backend(**settings: Any) -> TorchBackend:
    return TorchBackend(with_stand_ins(small_iresnet()), spec("arcface-ir50", CHIPS, **settings))


def canvas_backend(**settings: Any) -> TorchCanvasBackend:
    network = with_stand_ins(RetinaFace("mobilenet025"))
    assert isinstance(network, RetinaFace)
    module = BestRows(network, count=5000, lowest=0.05)
    return TorchCanvasBackend(module, spec("retinaface-r50", CANVASES, **settings))


def photos(count: int, height: int, width: int) -> ByteArray:
    return np.stack([parity.photo(height, width, seed=seed) for seed in range(count)])


@pytest.mark.parametrize("device", DEVICES)
def test_the_default_mode_answers_as_eager_from_several_threads(device: ChosenDevice) -> None:
    default, eager = chips_backend(device=device), chips_backend(device="cpu")
    assert default.choice.torch_mode == ("cuda_graphs" if device == "cuda" else "eager")
    batches = [photos(1 + number % 3, 112, 112) for number in range(12)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(default.run, batches))
    for batch, (found,) in zip(batches, answers, strict=True):
        (expected,) = eager.run(batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("device", DEVICES)
def test_photos_of_any_shape_share_canvases_from_several_threads(device: ChosenDevice) -> None:
    default, eager = canvas_backend(device=device), canvas_backend(device="cpu")
    sizes = ((64, 96), (33, 41), (90, 65), (128, 70), (20, 20))
    images = [parity.photo(*size, seed=seed) for seed, size in enumerate(sizes)] * 3
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(default.rows, [images[start:] for start in range(8)]))
    expected = eager.rows(images)
    for start, found in enumerate(answers):
        for one, wanted in zip(found, expected[start:], strict=True):
            np.testing.assert_allclose(one[:, 0], wanted[:, 0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_fetches_what_did_not_come_down_at_once(device: ChosenDevice) -> None:
    place = device_named(device)
    numbers = place.staged(np.arange(6, dtype=np.uint8).reshape(3, 2))
    answer = place.run(lambda one: (one * 2,), [numbers], lambda outputs: [outputs[0][:1]])
    assert answer.heads[0].tolist() == [[0, 2]]
    assert place.fetch(answer.outputs[0][2]).tolist() == [8, 10]


def test_pixels_of_another_process_are_taken_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    pixels = photos(1, 112, 112)
    pixels.setflags(write=False)
    assert chips_backend(device="cpu").run(pixels)[0].shape == (1, 512)
    assert not recwarn.list


def test_photos_of_any_size_and_number_run_eagerly_on_the_cpu() -> None:
    module = with_stand_ins(Cells())
    eager = TorchBackend(module, spec("retinaface-r50", PHOTOS, device="cpu"))
    assert (eager.choice.device, eager.choice.torch_mode) == ("cpu", "eager")
    batch = photos(3, 33, 41)
    cells, shares = eager.run(batch)
    assert cells.shape == shares.shape == (3, 5 * 6, 2)
    for index in range(3):
        alone = eager.run(batch[index : index + 1])[0]
        np.testing.assert_allclose(alone[0], cells[index], rtol=0, atol=TOLERANCE)


@on_gpu
def test_a_photo_that_fits_no_canvas_runs_eagerly_on_a_gpu() -> None:
    default, eager = canvas_backend(device="cuda"), canvas_backend(device="cpu")
    large = [parity.photo(300, 200)]
    [found], [expected] = default.rows(large), eager.rows(large)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0, atol=TOLERANCE)


@on_gpu
def test_float16_on_a_gpu_is_near_float32() -> None:
    half = canvas_backend(device="cuda", precision="float16")
    exact = canvas_backend(device="cpu")
    [found], [expected] = (one.rows([parity.photo(64, 96)]) for one in (half, exact))
    assert abs(float(found[0, 0] - expected[0, 0])) < HALF


@on_gpu
def test_a_thread_that_waits_for_a_gpu_sleeps() -> None:
    place = Gpu()
    work = torch.rand(8192, 8192, device="cuda")

    def slow() -> tuple[Tensor, ...]:
        result = work
        for _ in range(40):
            result = torch.tanh(result @ work)
        return (result,)

    def run() -> None:
        place.run(slow, [], lambda outputs: [outputs[0][:1]])

    run()  # cuBLAS initialises
    waited_s, computed_s = _seconds(run)
    assert waited_s > 0.2
    assert computed_s < 0.2 * waited_s


def _seconds(function: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of this thread's CPU time."""
    started, started_cpu = time.perf_counter(), time.thread_time()
    function()
    return time.perf_counter() - started, time.thread_time() - started_cpu
