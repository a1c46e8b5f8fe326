"""PyTorch's backend: eager runs on the CPU; CUDA graphs against eager runs on a GPU."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from configs.catalogue import CATALOGUE
from configs.model import ModelConfig
from deployments.contracts import ByteArray
from deployments.inference.backend import ModelSpec, Network
from deployments.inference.choice import choose
from deployments.inference.machine import Machine
from deployments.inference.torch_modes import EAGER_CALLS
from deployments.inference.torch_runtime import TorchBackend
from deployments.recognizer.iresnet import IResNet
from tests.support import parity

CHIPS = Network(lambda _: small_iresnet(), input_size=(112, 112), max_batch=3)
PHOTOS = Network(lambda _: Cells())
TOLERANCE = 1e-4


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


def backend(module: nn.Module, *, model: str, network: Network, **settings: Any) -> TorchBackend:
    module.load_state_dict(parity.entries_for(module))
    config = ModelConfig(model=model, runtime="torch", **settings)
    choice = choose(CATALOGUE[model], config, network, Machine())
    return TorchBackend(module, ModelSpec(CATALOGUE[model], config, network, choice, "stand-in"))


def photos(count: int, height: int, width: int) -> ByteArray:
    return np.stack([parity.photo(height, width, seed=seed) for seed in range(count)])


def require_same(one: TorchBackend, other: TorchBackend, pixels: ByteArray) -> None:
    for found, wanted in zip(one.run(pixels), other.run(pixels), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs_are_the_default_on_a_gpu_and_answer_as_eager_from_several_threads() -> None:
    eager = backend(small_iresnet(), model="arcface-ir50", network=CHIPS, torch_mode="eager")
    graphs = backend(small_iresnet(), model="arcface-ir50", network=CHIPS)
    assert graphs.choice.torch_mode == "cuda_graphs"
    batches = [photos(1 + number % 3, 112, 112) for number in range(12)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda pixels: require_same(graphs, eager, pixels), batches))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs_take_photos_of_any_size() -> None:
    eager = backend(Cells(), model="retinaface-r50", network=PHOTOS, torch_mode="eager")
    graphs = backend(Cells(), model="retinaface-r50", network=PHOTOS)
    for shape in ((1, 480, 640), (1, 427, 640), (3, 320, 321)):
        for _ in range(EAGER_CALLS + 2):  # at first eagerly, then recorded
            require_same(graphs, eager, photos(*shape))


def test_photos_of_any_size_and_number_run_eagerly_on_the_cpu() -> None:
    eager = backend(Cells(), model="retinaface-r50", network=PHOTOS, device="cpu")
    assert (eager.choice.device, eager.choice.torch_mode) == ("cpu", "eager")
    batch = photos(3, 33, 41)
    cells, shares = eager.run(batch)
    assert cells.shape == shares.shape == (3, 5 * 6, 2)
    for index in range(3):
        alone = eager.run(batch[index : index + 1])[0]
        np.testing.assert_allclose(alone[0], cells[index], rtol=0, atol=TOLERANCE)
