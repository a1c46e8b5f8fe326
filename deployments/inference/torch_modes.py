"""What the ways in which PyTorch runs a network share, and the recorded one: CUDA graphs.

Each way takes and gives what the network itself does: uint8 [B,H,W,3] -> float32 tensors [B,...].
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.inference.backend import Network

Shape = tuple[int, ...]
Forward = Callable[[Tensor], tuple[Tensor, ...]]

# Of photos that are shrunk to the default `max_side`: what is compiled for such a size fits others
# like it, while a small one would be compiled with shortcuts that only small ones can take.
PHOTO_SIZE = (480, 640)
# A recognizer's 4096 chips at most need 13, from 1 to 4096.
MOST_GRAPHS = 16

# PyTorch records one graph at a time in a process.
_capturing = threading.Lock()


def batch_sizes(most: int) -> list[int]:
    """Powers of two below `most`, then `most`."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def padded_size(count: int, *, most: int | None) -> int:
    """The batch size that `count` images are padded to: the next power of two, or `most`."""
    power = 1 << (count - 1).bit_length()
    return power if most is None or count > most else min(power, most)


def warm_up_shapes(network: Network) -> list[Shape]:
    """The inputs [B,H,W,3] to run before the first request, the largest batch first.

    A caller that names no largest batch is warmed up for one image and for several.
    """
    height, width = network.input_size or PHOTO_SIZE
    return [(count, height, width, 3) for count in reversed(batch_sizes(network.max_batch or 2))]


class Replays:
    """Recordings of a network, one for each shape of its input; safe to call from several threads.

    Batches are padded to few sizes (`padded_size`). A new shape is recorded when it first comes; of
    more than `limit`, the one not used for longest is dropped. One call goes at a time.
    """

    def __init__(
        self, record: Callable[[Shape], Forward], *, most: int | None, limit: int = MOST_GRAPHS
    ) -> None:
        self._record = record
        self._most = most
        self._limit = limit
        self._recordings: OrderedDict[Shape, Forward] = OrderedDict()
        self._one_call = threading.Lock()

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        shape = (padded_size(len(images), most=self._most), *images.shape[1:])
        with self._one_call:
            return self._recording(shape)(images)

    def _recording(self, shape: Shape) -> Forward:
        if shape not in self._recordings:
            self._recordings[shape] = self._record(shape)
        self._recordings.move_to_end(shape)
        # After the new one is there: see CudaRecorder.
        if len(self._recordings) > self._limit:
            self._recordings.popitem(last=False)
        return self._recordings[shape]


@dataclass(frozen=True, slots=True)
class Recording:
    """A network's run on one shape: `replay` computes `outputs` from `images`, all in place.

    Rows of `images` that a call leaves over keep what an earlier one put there: the networks
    compute every row by itself, and only the caller's rows are handed out.
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
    """Records a network as CUDA graphs, for `Replays`. Never run on a real GPU so far.

    The graphs share one memory pool, so that together they take little more than the largest. That
    asks for one replay at a time, its outputs copied before the next starts: on the CPU side
    `Replays` sees to it, on the GPU, where callers have streams of their own, the event `_free`.

    A pool that no graph holds any more cannot be recorded into, so a new graph is recorded before
    an old one is dropped. The old one is idle then, as PyTorch waits for the GPU before recording.
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
            # "thread_local": other threads may go on allocating memory meanwhile.
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                outputs = self._network(images)
        return self._in_turn(Recording(images, outputs, graph.replay))

    def _run_once(self, images: Tensor) -> None:
        """cuDNN and cuBLAS set themselves up in their first call, which no graph may record."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._network(images)
        self._stream.synchronize()

    def _in_turn(self, recording: Recording) -> Forward:
        """The recording, started when the replay before it has left the shared memory."""

        def run(images: Tensor) -> tuple[Tensor, ...]:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._free)
            outputs = recording(images)
            self._free.record(stream)
            return outputs

        return run
