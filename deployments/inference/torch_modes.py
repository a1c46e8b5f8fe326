"""CUDA graphs: a network's runs, recorded before the first request and replayed.

Measured on an NVIDIA H100 (PyTorch 2.11, float16): a graph of IR-50 takes 1.3 ms for one chip and
9.3 ms for 128, eager 11.3 and 13.2 ms; one of RetinaFace-R50 1.9 ms for a photo of 480 x 640 and
11.8 ms for 16, eager 6.5 and 13.0 ms. Recording a photo's shape takes 150 to 330 ms, which is why
none is recorded while requests wait. `torch.compile`, which is not offered, was slower for small
batches and faster for large ones (IR-50: 3.2 ms for one chip, 6.7 ms for 128), and took 44 to 128 s
to start.

The tests run without a GPU, on recordings that compute on the CPU: they do not run CudaRecorder.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.inference.backend import Canvas

# A network: tensors [B,...] to tensors [B,...].
Forward = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a network's images: uint8 [count,height,width,3]."""

    count: int
    height: int
    width: int


# Records a run of the network on `Shape` images; the recording takes that many images or fewer.
Record = Callable[[Shape], Forward]

# PyTorch records one graph at a time in a process.
_capturing = threading.Lock()


def batch_sizes(most: int) -> list[int]:
    """The batch sizes to record: the powers of two below `most`, then `most`."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def shapes_to_record(sizes: Sequence[Canvas], most: int) -> list[Shape]:
    """The shapes of images of these sizes, the largest first. most: images of the smallest."""
    shapes = [
        Shape(count, *size) for size in sizes for count in batch_sizes(most_of(size, sizes, most))
    ]
    return sorted(shapes, key=lambda shape: -shape.count * shape.height * shape.width)


def most_of(size: Canvas, sizes: Sequence[Canvas], most: int) -> int:
    """Images of a size in one run: `most` of the smallest size, fewer by area of larger ones."""
    smallest = min((height * width for height, width in sizes), default=size[0] * size[1])
    return max(1, most * smallest // (size[0] * size[1]))


class Recordings:
    """A network and its recordings, called as the network itself.

    A batch replays the smallest recording that holds it; one that none holds runs eagerly. Nothing
    is recorded after the constructor. One call runs at a time: the device's `run` sees to it.
    """

    def __init__(self, network: Forward, record: Record, shapes: Iterable[Shape]) -> None:
        self._network = network
        self._recordings = {shape: record(shape) for shape in shapes}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        count, *size, _ = inputs[0].shape
        fitting = [
            shape
            for shape in self._recordings
            if [shape.height, shape.width] == size and shape.count >= count
        ]
        if not fitting:
            return self._network(*inputs)
        return self._recordings[min(fitting, key=lambda shape: shape.count)](*inputs)


@dataclass(frozen=True, slots=True)
class Recording:
    """A network's run on one shape: `replay` computes `outputs` from `inputs`, in place.

    inputs, outputs: tensors [B,...]. A smaller batch leaves an earlier call's rows in the rest of
    the inputs: the networks compute each row independently, and the call returns only its own rows.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    replay: Callable[[], None]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        count = len(inputs[0])
        for own, given in zip(self.inputs, inputs, strict=True):
            own[:count].copy_(given)
        self.replay()
        return tuple(output[:count].clone() for output in self.outputs)


class CudaRecorder:
    """Records a network as CUDA graphs, for `Recordings`.

    The graphs share one memory pool, so that together they take little more than the largest. This
    requires one replay at a time, whose outputs are copied before the next one starts: `Gpu` runs
    all of them in order on one stream.
    """

    def __init__(self, network: Forward, example: Callable[[Shape], tuple[Tensor, ...]]) -> None:
        """example: inputs of a shape, on the GPU."""
        self._network = network
        self._example = example
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, shape: Shape) -> Forward:
        inputs = self._example(shape)
        graph = torch.cuda.CUDAGraph()
        with _capturing, torch.inference_mode():
            self._run_once(inputs)
            # "thread_local": other threads may allocate memory meanwhile.
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                outputs = self._network(*inputs)
        return Recording(inputs, outputs, graph.replay)

    def _run_once(self, inputs: tuple[Tensor, ...]) -> None:
        """Run the network once: cuDNN and cuBLAS initialise, which a graph must not record."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._network(*inputs)
        self._stream.synchronize()
