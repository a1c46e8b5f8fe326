"""Recorded networks, on the CPU, where a recording computes its outputs again.

CudaRecorder needs a GPU: test_torch_runtime.py runs it where there is one.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.catalogue import CATALOGUE
from deployments.inference.backend import Network
from deployments.inference.torch_modes import (
    Forward,
    Recording,
    Replays,
    Shape,
    batch_sizes,
    padded_size,
    warm_up_shapes,
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
        images = torch.zeros(shape, dtype=torch.uint8)
        (output,) = self.network(images)
        return Recording(images, (output,), lambda: _copy(self.network(images)[0], output))


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


def blank(count: int, height: int = 112, width: int = 112) -> Tensor:
    return torch.zeros(count, height, width, 3, dtype=torch.uint8)


def brightest(images: Tensor) -> tuple[Tensor]:
    """float32 [B,1]: a network for photos of any size."""
    return (images.flatten(1).float().amax(1, keepdim=True),)


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 20])],
)
def test_batches_are_padded_to_powers_of_two_up_to_the_largest(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes
    padded = [padded_size(count, most=most) for count in range(1, most + 1)]
    assert sorted(set(padded)) == sizes
    assert all(count <= size < 2 * count for count, size in enumerate(padded, start=1))


def test_without_a_largest_batch_or_over_it_the_next_power_of_two_is_taken() -> None:
    assert [padded_size(count, most=None) for count in (1, 3, 17)] == [1, 4, 32]
    assert padded_size(9, most=6) == 16


def test_every_batch_size_of_chips_is_warmed_up_and_photos_for_one_and_for_several() -> None:
    chips = Network(lambda _: IResNet(), input_size=(112, 96), max_batch=6)
    assert warm_up_shapes(chips) == [(count, 112, 96, 3) for count in (6, 4, 2, 1)]
    photos = Network(lambda _: IResNet())
    assert warm_up_shapes(photos) == [(2, 480, 640, 3), (1, 480, 640, 3)]


@torch.inference_mode()
def test_recorded_answers_are_the_networks_whatever_the_batch(
    network: PixelNetwork, recorder: Recorder, chips: Tensor
) -> None:
    replays = Replays(network, recorder, most=6, eager_calls=0)
    for count in (6, 3, 1, 5, 2, 7):  # fewer than before leave old chips in the padding
        (found,) = replays(chips[-count:])
        assert found.shape == (count, 512)
        torch.testing.assert_close(found, network(chips[-count:])[0], rtol=0, atol=1e-5)
    assert [shape[0] for shape in recorder.shapes] == [6, 4, 1, 2, 8]


@torch.inference_mode()
def test_answers_outlive_the_next_replay(recorder: Recorder, chips: Tensor) -> None:
    replays = Replays(recorder.network, recorder, most=1, eager_calls=0)
    (first,) = replays(chips[:1])
    kept = first.clone()
    replays(chips[1:2])
    assert torch.equal(first, kept)


def test_threads_that_share_recordings_get_their_own_answers(
    network: PixelNetwork, recorder: Recorder, chips: Tensor
) -> None:
    replays = Replays(network, recorder, most=2, eager_calls=0)
    pairs = [chips[index : index + 1 + index % 2] for index in range(6)]

    def answer(forward: Forward, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return forward(images)[0]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda images: answer(replays, images), pairs))
    for images, vectors in zip(pairs, found, strict=True):
        torch.testing.assert_close(vectors, answer(network, images), rtol=0, atol=1e-5)
    assert len(recorder.shapes) == 2


def test_the_recording_that_was_not_used_for_longest_is_dropped() -> None:
    recorder = Recorder(brightest)
    replays = Replays(brightest, recorder, most=None, limit=2, eager_calls=0)
    for width in (10, 20, 10, 30, 10, 20):
        replays(blank(1, 8, width))
    assert [shape[2] for shape in recorder.shapes] == [10, 20, 30, 20]


def test_a_shape_runs_eagerly_until_it_has_come_often() -> None:
    recorder = Recorder(brightest)
    replays = Replays(brightest, recorder, most=None, eager_calls=2)
    replays.record((1, 8, 10, 3))
    for width in (10, 20, 20, 20, 30, 20):
        replays(blank(1, 8, width))
    assert [shape[2] for shape in recorder.shapes] == [10, 20]


def test_ever_new_shapes_are_not_recorded() -> None:
    recorder = Recorder(brightest)
    replays = Replays(brightest, recorder, most=None, limit=2, eager_calls=2)
    for width in (10, 20, 30, 40) * 5:
        replays(blank(1, 8, width))
    assert recorder.shapes == []


def test_a_recording_that_fails_is_tried_again_and_drops_none() -> None:
    recorder = Recorder(brightest)

    def record(shape: Shape) -> Forward:
        if shape[0] == 2:
            raise RuntimeError("out of memory")
        return recorder(shape)

    replays = Replays(brightest, record, most=None, limit=1, eager_calls=0)
    replays(blank(1))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            replays(blank(2))
    replays(blank(1))
    assert len(recorder.shapes) == 1
