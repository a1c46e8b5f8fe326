"""PyTorch's devices: tensors to a network and back, and how a thread waits for them.

The tests run without a GPU. `Gpu` is all that runs on one alone, with `CudaRecorder` of
torch_modes.py; tests/deployments/inference/test_torch_runtime.py runs both where there is one.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deployments.contracts import ByteArray
from deployments.inference.backend import ChosenDevice
from deployments.inference.torch_modes import Forward

# Maps a network's outputs to the parts of them that every call needs on the processor.
Heads = Callable[[tuple[Tensor, ...]], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A network's answer: `outputs` on the device, and their heads on the processor."""

    heads: Sequence[Tensor]
    outputs: tuple[Tensor, ...]


class Device(Protocol):
    """A place where a network runs. Safe to use from several threads."""

    torch_device: torch.device

    def staging(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the processor, not initialised, from which `run` uploads quickest."""

    def staged(self, array: ByteArray) -> Tensor:
        """The array where `run` uploads it quickest."""

    def run(self, forward: Forward, inputs: Sequence[Tensor], heads: Heads) -> Answer:
        """Upload the inputs, run the network, wait, and return its answer."""

    def fetch(self, output: Tensor) -> Tensor:
        """A part of an answer's outputs on the processor."""


def device_named(name: ChosenDevice) -> Device:
    return Gpu() if name == "cuda" else Processor()


class Processor:
    """The processor: nothing to upload, nothing to wait for."""

    torch_device = torch.device("cpu")

    def staging(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def staged(self, array: ByteArray) -> Tensor:
        # PyTorch warns of read-only arrays, which those from another process are.
        return torch.from_numpy(array if array.flags.writeable else array.copy())

    def run(self, forward: Forward, inputs: Sequence[Tensor], heads: Heads) -> Answer:
        with torch.inference_mode():
            outputs = forward(*inputs)
            return Answer(heads(outputs), outputs)

    def fetch(self, output: Tensor) -> Tensor:
        return output


class Gpu:
    """One NVIDIA GPU.

    Runs are in order on one stream, so that recordings may share memory. Uploads have a stream of
    their own: with two calling threads, one's upload overlaps with the other's run. A thread that
    waits sleeps: `Stream.synchronize` and events by default would spin, one core for each thread.
    """

    torch_device = torch.device("cuda")

    def __init__(self) -> None:
        self._uploads = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._runs = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._one_queues = threading.Lock()
        torch.cuda.synchronize()  # the weights are there before these streams read them

    def staging(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        # PyTorch keeps pinned memory, and does not reuse it until the copies from it are done.
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def staged(self, array: ByteArray) -> Tensor:
        memory = self.staging(array.shape, torch.uint8)
        memory.numpy()[:] = array
        return memory

    def run(self, forward: Forward, inputs: Sequence[Tensor], heads: Heads) -> Answer:
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with self._one_queues, torch.inference_mode():
            uploaded = self._uploaded(inputs)
            with torch.cuda.stream(self._runs):
                self._runs.wait_stream(self._uploads)
                outputs = forward(*uploaded)
                copies = [self._copied_back(head) for head in heads(outputs)]
                done.record(self._runs)
        done.synchronize()
        return Answer(copies, outputs)

    def fetch(self, output: Tensor) -> Tensor:
        return self.run(lambda: (output,), (), lambda outputs: outputs).heads[0]

    def _uploaded(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        with torch.cuda.stream(self._uploads):
            moved = [one.to(self.torch_device, non_blocking=True) for one in inputs]
        for one in moved:
            one.record_stream(self._runs)  # which reads it after this thread has let it go
        return moved

    def _copied_back(self, head: Tensor) -> Tensor:
        memory = self.staging(tuple(head.shape), head.dtype)
        return memory.copy_(head.contiguous(), non_blocking=True)
