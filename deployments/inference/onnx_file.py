"""ONNX files in any runtime: checks of their sizes, and batches cut to their batch size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidWeights
from deployments.inference.backend import Network

Shape = Sequence[int | str | None]
# uint8 [B,H,W,3] BGR -> the outputs, float32 [B,...]. B is the file's batch size, if that is fixed.
Run = Callable[[ByteArray], Sequence[FloatArray]]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of an ONNX file.

    kind: the number type, as the runtime names it. shape: a number for each fixed axis, a name or
    None for each free one.
    """

    name: str
    kind: str
    is_float32: bool
    shape: Shape


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a stage expects of an ONNX file.

    input_size: height and width of an image. output_size: numbers per image. where: the model and
    its file, as error messages begin.
    """

    input_size: tuple[int, int]
    output_size: int
    where: str

    def find_output(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> int:
        """The index of the output of `output_size`.

        Raises InvalidWeights if there is none, or not exactly one input of `input_size`.
        """
        image, vector = (None, 3, *self.input_size), (None, self.output_size)
        if len(inputs) != 1 or not _fits(inputs[0], image):
            raise InvalidWeights(
                f"{self.where}: expected one float32 input {_text(image)}, found {_listed(inputs)}"
            )
        fitting = [index for index, output in enumerate(outputs) if _fits(output, vector)]
        if not fitting:
            raise InvalidWeights(
                f"{self.where}: expected a float32 output {_text(vector)}, found {_listed(outputs)}"
            )
        return fitting[0]

    def try_batch_size(self, run: Run, *, declared: int | None) -> int | None:
        """Run the file once; returns the batch size that a call takes, None for any.

        declared: the file's own statement. Some files declare any batch size and take one image.
        Raises InvalidWeights if `run` fails or its first output does not have the size.
        """
        problem = ""
        for count in (declared,) if declared else (2, 1):
            try:
                answer = run(np.zeros((count, *self.input_size, 3), np.uint8))[0]
            except Exception as error:  # the runtimes' exceptions have no base class of their own
                problem = str(error)
                continue
            if answer.shape == (count, self.output_size):
                return None if count == 2 and not declared else count
            problem = f"{count} images give an output {_text(answer.shape)}"
        raise InvalidWeights(f"{self.where}: expected an output (N, {self.output_size}): {problem}")


def expected_sizes(network: Network, where: str) -> Sizes | None:
    """The network's sizes; None if they depend on the image's size."""
    if network.input_size is None or network.output_size is None:
        return None
    return Sizes(network.input_size, network.output_size, where)


def run_in_pieces(run: Run, pixels: ByteArray, *, batch_size: int | None) -> tuple[FloatArray, ...]:
    """uint8 [B,H,W,3] BGR -> the outputs, float32 [B,...].

    Splits the batch into calls of `batch_size` images and pads the last one; None for one call.
    """
    size = batch_size or len(pixels)
    pieces = [
        _run_padded(run, pixels[start : start + size], size)
        for start in range(0, len(pixels), size)
    ]
    if len(pieces) == 1:
        return tuple(pieces[0])
    return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))


def _run_padded(run: Run, pixels: ByteArray, size: int) -> Sequence[FloatArray]:
    missing = size - len(pixels)
    if not missing:
        return run(pixels)
    answers = run(np.pad(pixels, [(0, missing), (0, 0), (0, 0), (0, 0)]))
    return [answer[: len(pixels)] for answer in answers]


def _fits(port: Port, shape: Shape) -> bool:
    """True if the port is float32 and its fixed axes have these sizes; None fits any size."""
    if not port.is_float32 or len(port.shape) != len(shape):
        return False
    pairs = zip(port.shape, shape, strict=True)
    return all(size == asked for size, asked in pairs if isinstance(size, int) and asked)


def _listed(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name} {port.kind} {_text(port.shape)}" for port in ports) or "none"


def _text(shape: Shape) -> str:
    return f"[{', '.join('*' if size is None else str(size) for size in shape)}]"
