"""The interface of every inference runtime, and the values that describe a network to one.

A backend takes pixels, not tensors: each runtime normalises them where that is cheapest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.contracts import ByteArray, FloatArray

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn

    from deployments.weights.checkpoints import Checkpoint


# The configured values of configs/model.py without `auto`.
ChosenRuntime = Literal["onnxruntime", "openvino", "torch"]
ChosenDevice = Literal["cpu", "cuda"]
ChosenPrecision = Literal["float32", "float16", "bfloat16"]
# Height and width, in pixels.
Canvas = tuple[int, int]


def _no_network(checkpoint: "Checkpoint") -> "nn.Module":
    raise AssertionError("an ONNX file contains its network")


@dataclass(frozen=True, slots=True)
class Network:
    """A stage's description of its network to a runtime. Runtimes do not import stages.

    build: makes the network, in PyTorch and without weights, that the checkpoint's entries fit;
    left out for a model whose entries have ONNX files only.
    input_size: height and width of every image; None for a network that takes any size.
    output_size: numbers per image in the first output; None if it depends on the image's size.
    in_levels: each output concatenates several pyramid levels, and the first level is not always
    needed: ONNX Runtime and OpenVINO then run the network as a SplitBackend.
    max_batch: most images in one run of PyTorch on a device.
    canvases: those that PyTorch lays photos on, on a device; none to take photos as they are.
    on_canvases: makes the network's module one for TorchCanvasBackend.
    """

    build: "Callable[[Checkpoint], nn.Module]" = _no_network
    input_size: tuple[int, int] | None = None
    output_size: int | None = None
    in_levels: bool = False
    max_batch: Callable[[ChosenDevice], int] = lambda device: 1
    canvases: Callable[[ChosenDevice], Sequence[Canvas]] = lambda device: ()
    on_canvases: "Callable[[nn.Module], nn.Module] | None" = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime, device and precision that a model runs in, made by `choice.choose`.

    reason: why, in words, for people. torch_mode: None outside of PyTorch. fallback: the choice to
    take if this runtime cannot run the file or does not start on the device; None if that is an
    error.
    """

    runtime: ChosenRuntime
    device: ChosenDevice
    precision: ChosenPrecision
    reason: str
    torch_mode: Literal["eager", "cuda_graphs"] | None = None
    fallback: "Choice | None" = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as a runtime loads it: everything besides the weights.

    where: the model and its weights' file, as error messages begin.
    """

    model: Model
    config: ModelConfig
    network: Network
    choice: Choice
    where: str


class Backend(Protocol):
    """A network loaded into a runtime."""

    @property
    def choice(self) -> Choice:
        """The runtime, device and precision that it runs in."""

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        """uint8 [B,H,W,3] BGR -> the network's outputs, float32 [B,...], in the network's order.

        May be called from several threads at once. The first call may take longer.
        """


@runtime_checkable
class CanvasBackend(Protocol):
    """A network loaded into a runtime that takes photos of any shapes in one call."""

    @property
    def choice(self) -> Choice: ...

    def rows(self, images: Sequence[ByteArray]) -> list[FloatArray]:
        """Photos uint8 [h,w,3] BGR -> the rows of each, float32 [n,...], in falling order.

        May be called from several threads at once.
        """


class FeaturesToOutputs(Protocol):
    """The second part of a SplitBackend: it takes features, float32 [B,...], not pixels."""

    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]: ...


@dataclass(frozen=True, slots=True)
class SplitBackend:
    """A network in two parts, both in one runtime.

    Each output of the network is the second part's, followed by the first's along axis 1.
    outputs: the number of the network's outputs.
    """

    first: Backend
    second: FeaturesToOutputs
    outputs: int

    @property
    def choice(self) -> Choice:
        return self.first.choice

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        outputs, features = self.begin(pixels)
        return joined(self.finish(features), outputs)

    def begin(self, pixels: ByteArray) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        """uint8 [B,H,W,3] BGR -> the first part's outputs, and the features that `finish` takes.

        All are float32 [B,...].
        """
        answers = self.first.run(pixels)
        return answers[: self.outputs], answers[self.outputs :]

    def finish(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        """The second part's outputs, float32 [B,...], from the features that `begin` gave."""
        return self.second.run(features)


def joined(second: Sequence[FloatArray], first: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """The network's outputs from its parts', joined along axis 1."""
    return tuple(np.concatenate(parts, axis=1) for parts in zip(second, first, strict=True))
