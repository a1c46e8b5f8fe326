"""What a stage tells the runtimes of its networks; no runtime knows a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn

    from deployments.runtime.checkpoints import Checkpoint


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
