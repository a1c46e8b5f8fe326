"""CUDA graphs: a network's run, recorded for each input shape and replayed.

Measured on an NVIDIA H100 (PyTorch 2.11, float16): a graph of IR-50 takes 1.3 ms for one chip and
9.3 ms for 128, eager 11.3 and 13.2 ms; one of RetinaFace-R50 1.9 ms for a photo of 480 x 640 and
11.8 ms for 16, eager 6.5 and 13.0 ms. Callers in four threads get identical answers. Recording the
shapes of the warm-up takes about a second, a further photo shape 150 to 330 ms. `torch.compile`,
which is not offered, was slower for small batches and faster for large ones (IR-50: 3.2 ms for one
chip, 6.7 ms for 128), and took 44 to 128 s to start.

The tests run without a GPU, on recordings that compute on the CPU: they do not run CudaRecorder.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deployments.inference.backend import Network

Shape = tuple[int, ...]
Forward = Callable[[Tensor], tuple[Tensor, ...]]

# Height and width of the photos of the warm-up: a 4:3 photo, shrunk to the default `max_side`.
PHOTO_SIZE = (480, 640)
# A recognizer's largest `max_batch_faces`, 4096, needs 13: the powers of two from 1 to 4096.
MOST_GRAPHS = 16
# A shape that comes this often is recorded: eager, it has then cost about as much as a recording.
EAGER_CALLS = 32

# PyTorch records one graph at a time in a process.
_capturing = threading.Lock()


def batch_sizes(most: int) -> list[int]:
    """The batch sizes to record: the powers of two below `most`, then `most`."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def padded_size(count: int, *, most: int | None) -> int:
    """The batch size that `count` images are padded to: the next power of two, or `most`."""
    power = 1 << (count - 1).bit_length()
    return power if most is None or count > most else min(power, most)


def warm_up_shapes(network: Network) -> list[Shape]:
    """The input shapes [B,H,W,3] to record before the first request, the largest batch first.

    A network without `max_batch` is recorded for batches of one and of two.
    """
    height, width = network.input_size or PHOTO_SIZE
    return [(count, height, width, 3) for count in reversed(batch_sizes(network.max_batch or 2))]


class Replays:
    """A network and a cache of its recordings, one for each input shape; thread-safe.

    Called as the network itself: uint8 [B,H,W,3] -> float32 tensors [B,...]. Recorded batch sizes
    are few (`padded_size`); a smaller batch is padded. A shape that is not recorded runs eagerly,
    and is recorded once it has come `eager_calls` times: photos of ever new sizes cost no
    recordings. Over `limit`, the least recently used recording is dropped. One call runs at a time.
    most: the largest usual batch; None for no limit.
    """

    def __init__(
        self,
        network: Forward,
        record: Callable[[Shape], Forward],
        *,
        most: int | None,
        limit: int = MOST_GRAPHS,
        eager_calls: int = EAGER_CALLS,
    ) -> None:
        self._network = network
        self._record = record
        self._most = most
        self._limit = limit
        self._eager_calls = eager_calls
        self._recordings: OrderedDict[Shape, Forward] = OrderedDict()
        self._seen: OrderedDict[Shape, int] = OrderedDict()  # eager calls of the latest new shapes
        self._one_call = threading.Lock()

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        shape = (padded_size(len(images), most=self._most), *images.shape[1:])
        with self._one_call:
            if shape not in self._recordings and self._count(shape) <= self._eager_calls:
                return self._network(images)
            return self._recording(shape)(images)

    def record(self, shape: Shape) -> None:
        """Record a shape [B,H,W,3] before its first call."""
        with self._one_call:
            self._recording(shape)

    def _recording(self, shape: Shape) -> Forward:
        if shape not in self._recordings:
            self._recordings[shape] = self._record(shape)
            self._seen.pop(shape, None)
        _touch(self._recordings, shape, limit=self._limit)
        return self._recordings[shape]

    def _count(self, shape: Shape) -> int:
        """The number of calls of a shape that is not recorded, with this one."""
        self._seen[shape] = self._seen.get(shape, 0) + 1
        _touch(self._seen, shape, limit=self._limit)
        return self._seen[shape]


def _touch(cache: "OrderedDict[Shape, Any]", shape: Shape, *, limit: int) -> None:
    """Mark the shape as the most recently used; over `limit`, drop the least recently used one."""
    cache.move_to_end(shape)
    if len(cache) > limit:
        cache.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Recording:
    """A network's run on one input shape: `replay` computes `outputs` from `images`, in place.

    images: uint8 [B,H,W,3]; outputs: float32 [B,...]. A smaller batch leaves an earlier call's rows
    in the rest of `images`: the networks compute each row independently, and the call returns only
    its own rows.
    """

    images: Tensor
    outputs: tuple[Tensor, ...]
    replay: Callable[[], None]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        count = len(images)
        self.images[:count].copy_(images)
        self.replay()
        return tuple(output[:count].clone() for output in self.outputs)


class CudaRecorder:
    """Records a network as CUDA graphs, for `Replays`.

    The graphs share one memory pool, so that together they take little more than the largest. This
    requires one replay at a time, whose outputs are copied before the next one starts: `Replays`
    ensures it on the CPU; on the GPU, where each caller has its own stream, the event `_free` does.

    A pool without a live graph cannot be recorded into, so `Replays` records a new graph before it
    drops an old one. The old one is idle then, because PyTorch waits for the GPU before recording.
    """

    def __init__(self, network: Forward, *, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._free = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __call__(self, shape: Shape) -> Forward:
        images = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        graph = torch.cuda.CUDAGraph()
        with _capturing:
            self._run_once(images)
            # "thread_local": other threads may allocate memory meanwhile.
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                outputs = self._network(images)
        return self._in_turn(Recording(images, outputs, graph.replay))

    def _run_once(self, images: Tensor) -> None:
        """Run the network once: cuDNN and cuBLAS initialise, which a graph must not record."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._network(images)
        self._stream.synchronize()

    def _in_turn(self, recording: Recording) -> Forward:
        """The recording, which waits until the previous replay no longer uses the shared memory."""

        def run(images: Tensor) -> tuple[Tensor, ...]:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._free)
            outputs = recording(images)
            self._free.record(stream)
            return outputs

        return run
