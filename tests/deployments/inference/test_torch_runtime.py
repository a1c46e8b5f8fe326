"""Compiled networks against eager ones, on the CPU. What `compile` does on a GPU is not run."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.model import ModelConfig, TorchMode
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray
from deployments.errors import InvalidConfig
from deployments.inference.backend import Network
from deployments.inference.load_checkpoint import backend_from_checkpoint
from deployments.inference.torch_runtime import TorchBackend
from deployments.recognizer import recognizer as recognizers
from deployments.recognizer.iresnet import IResNet
from tests.support import parity

CHIPS = Network(lambda _: small_iresnet(), input_size=(112, 112), max_batch=3)
PHOTOS = Network(lambda _: Cells())
TOLERANCE = 1e-4


class Cells(nn.Module):
    """As a detector does: two answers per cell, for photos of any size."""

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


def backend(module: nn.Module, mode: TorchMode, *, model: str, network: Network) -> TorchBackend:
    module.load_state_dict(parity.entries_for(module))
    config = ModelConfig(model=model, runtime="torch", torch_mode=mode, device="cpu")
    return TorchBackend(module, model=CATALOGUE[model], config=config, network=network)


def photos(count: int, height: int, width: int) -> ByteArray:
    return np.stack([parity.photo(height, width, seed=seed) for seed in range(count)])


def require_same(one: TorchBackend, other: TorchBackend, pixels: ByteArray) -> None:
    for found, wanted in zip(one.run(pixels), other.run(pixels), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


def compilations() -> int:
    return counters["stats"]["unique_graphs"]


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    """PyTorch counts compilations, and bounds their number, for the whole process."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def test_a_compiled_recognizer_answers_as_the_eager_one_with_nothing_left_to_compile() -> None:
    eager = backend(small_iresnet(), "eager", model="arcface-ir50", network=CHIPS)
    compiled = backend(small_iresnet(), "compile", model="arcface-ir50", network=CHIPS)
    assert compiled.runtime == "torch"
    before = compilations()
    for count in (1, 2, 3):
        require_same(compiled, eager, photos(count, 112, 112))
    with ThreadPoolExecutor(2) as threads:  # as a replica calls it
        list(threads.map(lambda count: compiled.run(photos(count, 112, 112)), (1, 2, 1, 3)))
    assert compilations() == before == 2  # one chip, several chips


def test_a_compiled_network_takes_photos_of_any_size() -> None:
    eager = backend(Cells(), "eager", model="retinaface-r50", network=PHOTOS)
    compiled = backend(Cells(), "compile", model="retinaface-r50", network=PHOTOS)
    before = compilations()
    require_same(compiled, eager, photos(1, 480, 640))
    require_same(compiled, eager, photos(1, 427, 640))
    require_same(compiled, eager, photos(3, 320, 321))
    assert compilations() == before == 2
    with torch._dynamo.config.patch(recompile_limit=2):  # small photos would be compiled apart
        require_same(compiled, eager, photos(1, 33, 40))
    assert compilations() == 2


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_model.pt"
    torch.save(parity.entries_for(Cells()), path)
    return path


def test_what_cannot_be_compiled_is_an_error_that_names_the_field(checkpoint: Path) -> None:
    """And `runtime: auto` took torch, which it does not on the CPU without a `torch_mode`."""
    config = DetectorConfig(model="retinaface-r50", device="cpu", torch_mode="compile")
    with (
        inductor.patch({"cpp.cxx": ("/nowhere/c++",)}),
        pytest.raises(
            InvalidConfig, match=r"torch_mode: compile fails for retinaface-r50: .*C\+\+ compiler"
        ),
    ):
        backend_from_checkpoint(
            checkpoint, model=CATALOGUE["retinaface-r50"], config=config, network=PHOTOS
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_graphs_are_refused_where_there_is_no_gpu(checkpoint: Path) -> None:
    config = DetectorConfig(model="retinaface-r50", torch_mode="cuda_graphs")
    with pytest.raises(InvalidConfig, match="torch_mode: cuda_graphs needs a GPU"):
        backend_from_checkpoint(
            checkpoint, model=CATALOGUE["retinaface-r50"], config=config, network=PHOTOS
        )


def test_the_largest_batch_of_a_recognizer_is_the_configured_one(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    told: list[Network] = []

    def load(*_: object, network: Network) -> TorchBackend:
        told.append(network)
        return backend(Cells(), "eager", model="retinaface-r50", network=PHOTOS)

    monkeypatch.setattr(recognizers, "load_backend", load)
    recognizers.recognizer_from(RecognizerConfig(max_batch_faces=24))
    assert [network.max_batch for network in told] == [24]
