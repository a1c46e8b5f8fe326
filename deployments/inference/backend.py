"""One small interface in front of every inference runtime.

A backend takes pixels, not tensors, so that each runtime normalises them where that is cheapest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deployments.contracts import ByteArray, FloatArray

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn

    from deployments.weights.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Network:
    """build: an empty network that a checkpoint's entries fit.
    input_size: height and width of every image; None where any will do.
    output_size: numbers per image in the first output; None where it follows from the image.
    in_levels: the outputs are concatenated of several levels, the first of which is not always
    needed: ONNX runtimes then make a SplitBackend.
    max_batch: most images in one call; None where callers set no limit.
    """

    build: "Callable[[Checkpoint], nn.Module]"
    input_size: tuple[int, int] | None = None
    output_size: int | None = None
    in_levels: bool = False
    max_batch: int | None = None


class Backend(Protocol):
    @property
    def runtime(self) -> str: ...

    @property
    def device(self) -> str: ...

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        """uint8 [B,H,W,3] BGR -> the network's outputs, float32 [B,...], in the network's order.

        May be called from several threads at once. A runtime may need longer for the first call.
        """


class FeaturesToOutputs(Protocol):
    def run(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]: ...


@dataclass(frozen=True, slots=True)
class SplitBackend:
    """Both parts in a runtime. An output of the network is the second part's, followed by the
    first's along its second axis."""

    first: "Backend"
    second: FeaturesToOutputs
    outputs: int

    @property
    def runtime(self) -> str:
        return self.first.runtime

    @property
    def device(self) -> str:
        return self.first.device

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        outputs, features = self.begin(pixels)
        return joined(self.finish(features), outputs)

    def begin(self, pixels: ByteArray) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        """uint8 [B,H,W,3] BGR -> the first part's outputs, and what `finish` needs; all begin with
        an axis of B images."""
        answers = self.first.run(pixels)
        return answers[: self.outputs], answers[self.outputs :]

    def finish(self, features: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        return self.second.run(features)


def joined(second: Sequence[FloatArray], first: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """The network's outputs from its parts'."""
    return tuple(np.concatenate(parts, axis=1) for parts in zip(second, first, strict=True))
