"""Recorded networks, on the CPU, where a recording computes its outputs again.

CudaRecorder needs a GPU: test_torch_runtime.py runs it where there is one.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.catalogue import CATALOGUE
from deployments.inference.torch_modes import (
    Forward,
    Recording,
    Recordings,
    Shape,
    batch_sizes,
    shapes_to_record,
)
from deployments.inference.torch_runtime import PixelNetwork
from deployments.recognizer.iresnet import IResNet
from tests.support import parity


class Recorder:
    """Records on the CPU, in buffers of its own as a CUDA graph has them."""

    def __init__(self, network: Forward) -> None:
        self.network = network
        self.shapes: list[Shape] = []

    def __call__(self, shape: Shape) -> Forward:
        self.shapes.append(shape)
        images = torch.zeros(shape.count, shape.height, shape.width, 3, dtype=torch.uint8)
        (output,) = self.network(images)
        return Recording((images,), (output,), lambda: _copy(self.network(images)[0], output))


def _copy(source: Tensor, destination: Tensor) -> None:
    destination.copy_(source)


@pytest.fixture(scope="module")
def network() -> PixelNetwork:
    module = IResNet((1, 1, 1, 1))
    module.load_state_dict(parity.entries_for(module))
    preprocessing = CATALOGUE["arcface-ir50"].preprocessing
    return PixelNetwork(module, preprocessing=preprocessing, precision=torch.float32)


@pytest.fixture
def recorder(network: PixelNetwork) -> Recorder:
    return Recorder(torch.inference_mode()(network))


@pytest.fixture(scope="module")
def chips() -> Tensor:
    photos = [parity.photo(112, 112, seed=seed) for seed in range(7)]
    return torch.from_numpy(np.stack(photos))


def brightest(images: Tensor) -> tuple[Tensor]:
    """float32 [B,1]: a network for photos of any size."""
    return (images.flatten(1).float().amax(1, keepdim=True),)


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 20])],
)
def test_powers_of_two_up_to_the_largest_batch_are_recorded(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


def test_every_batch_size_is_recorded_for_every_canvas_with_fewer_photos_on_larger_ones() -> None:
    assert shapes_to_record([(112, 96)], 6) == [Shape(count, 112, 96) for count in (6, 4, 2, 1)]
    canvases = [(32, 64), (64, 64), (96, 128)]
    assert shapes_to_record(canvases, 4) == [
        Shape(1, 96, 128),
        Shape(4, 32, 64),
        Shape(2, 64, 64),
        Shape(2, 32, 64),
        Shape(1, 64, 64),
        Shape(1, 32, 64),
    ]


@torch.inference_mode()
def test_recorded_answers_are_the_networks_whatever_the_batch(
    network: PixelNetwork, recorder: Recorder, chips: Tensor
) -> None:
    recordings = Recordings(network, recorder, shapes_to_record([(112, 112)], 6))
    for count in (6, 3, 1, 5, 2):  # fewer than before leave old chips in the padding
        (found,) = recordings(chips[-count:])
        assert found.shape == (count, 512)
        torch.testing.assert_close(found, network(chips[-count:])[0], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_answers_outlive_the_next_replay(recorder: Recorder, chips: Tensor) -> None:
    recordings = Recordings(recorder.network, recorder, [Shape(1, 112, 112)])
    (first,) = recordings(chips[:1])
    kept = first.clone()
    recordings(chips[1:2])
    assert torch.equal(first, kept)


def test_nothing_is_recorded_after_the_start_and_other_shapes_run_eagerly() -> None:
    recorder = Recorder(brightest)
    shapes = [Shape(2, 8, 10), Shape(1, 8, 10)]
    recordings = Recordings(brightest, recorder, shapes)
    for count, width in ((1, 10), (2, 10), (3, 10), *[(1, 20)] * 40):
        images = torch.full((count, 8, width, 3), width, dtype=torch.uint8)
        assert recordings(images)[0].tolist() == [[width]] * count
    assert recorder.shapes == shapes


def test_photos_on_canvases_are_recorded_with_their_sizes() -> None:
    def covered(images: Tensor, sizes: Tensor) -> tuple[Tensor]:
        """float32 [B,1]: the brightest pixel inside each photo."""
        rows, columns = (torch.arange(side) for side in images.shape[1:3])
        inside = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])
        return ((images.amax(3) * inside).flatten(1).float().amax(1, keepdim=True),)

    def record(shape: Shape) -> Recording:
        images = torch.zeros(shape.count, shape.height, shape.width, 3, dtype=torch.uint8)
        sizes = torch.zeros(shape.count, 2, dtype=torch.int32)
        (output,) = covered(images, sizes)
        return Recording(
            (images, sizes), (output,), lambda: _copy(covered(images, sizes)[0], output)
        )

    recordings = Recordings(covered, record, shapes_to_record([(8, 8)], 4))
    images = torch.full((3, 8, 8, 3), 9, dtype=torch.uint8)
    images[:, :4, :4] = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None, None]
    sizes = torch.tensor([[4, 4], [4, 5], [3, 2]], dtype=torch.int32)
    assert recordings(images, sizes)[0].tolist() == [[1], [9], [3]]
    assert recordings(images[2:], sizes[2:])[0].tolist() == [[3]]
