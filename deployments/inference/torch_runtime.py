"""PyTorch's backends, on the CPU or on a GPU: images of one size, or photos of any on canvases."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from configs.catalogue import Preprocessing
from configs.model import CANVAS_STEP
from deployments.contracts import ByteArray, FloatArray
from deployments.inference.backend import Canvas, ModelSpec
from deployments.inference.torch_device import Answer, Heads, device_named
from deployments.inference.torch_modes import (
    CudaRecorder,
    Forward,
    Recordings,
    Shape,
    most_of,
    shapes_to_record,
)

_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# Rows of a photo that come down from the device with every batch, 60 bytes each; the rest follows
# for the few photos that have more.
_FIRST_ROWS = 256


class PixelNetwork(nn.Module):
    """A network that takes pixels, uint8 [B,H,W,3] BGR, and gives float32 tensors [B,...]."""

    def __init__(
        self, module: nn.Module, *, preprocessing: Preprocessing, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.module = module.eval().to(precision)
        convert_conv2d_weight_memory_format(self.module, torch.channels_last)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self._rgb, self._scale = preprocessing.rgb, preprocessing.scale
        self._precision = precision

    def forward(self, images: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """more: the module's other inputs, as they are."""
        outputs = self.module(self._normalised(images), *more)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.float() for output in several)

    def _normalised(self, images: Tensor) -> Tensor:
        """uint8 [B,H,W,3] BGR -> [B,3,H,W] as the network was trained, in its precision."""
        channels = images.flip(-1) if self._rgb else images
        planes = (channels.permute(0, 3, 1, 2).float() - self.mean) / self._scale
        return planes.to(self._precision, memory_format=torch.channels_last)


class TorchBackend:
    """A network in eval mode, run eagerly or as CUDA graphs, which the constructor records.

    Run eagerly, the first call on a GPU is slow, because it picks algorithms. Two settings are the
    whole process's, not the backend's: the threads inside one call (`torch.set_num_threads`; the
    last backend sets it) and TF32, which is off because it rounds float32 to 10 bits.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec) -> None:
        self.choice = spec.choice
        torch.set_num_threads(spec.config.threads)
        torch.backends.cudnn.allow_tf32 = False
        self._most = spec.network.max_batch(spec.choice.device)
        fixed = spec.network.input_size
        self._sizes = [fixed] if fixed else spec.network.canvases(spec.choice.device)
        network = PixelNetwork(
            module,
            preprocessing=spec.model.preprocessing,
            precision=_TYPES[spec.choice.precision],
        ).to(spec.choice.device)
        self._device = device_named(spec.choice.device)
        self._forward: Forward = network
        if spec.choice.torch_mode == "cuda_graphs":
            recorder = CudaRecorder(network, self._example)
            shapes = shapes_to_record(self._sizes, self._most)
            self._forward = Recordings(network, recorder, shapes)
            for shape in shapes:  # once more, as callers will
                self._run(self._example(shape), _all)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        answer = self._run((self._device.staged(pixels),), _all)
        return tuple(output.contiguous().numpy() for output in answer.heads)

    def _run(self, inputs: Sequence[Tensor], heads: Heads) -> Answer:
        return self._device.run(self._forward, inputs, heads)

    def _example(self, shape: Shape) -> tuple[Tensor, ...]:
        images = (shape.count, shape.height, shape.width, 3)
        return (torch.zeros(images, dtype=torch.uint8, device=self._device.torch_device),)


class TorchCanvasBackend(TorchBackend):
    """A network for photos of any shape, which lie on few canvases, each with its own size.

    Its module takes planes [B,3,H,W] and the photos' sizes, int32 [B,2]: height and width. It gives
    a photo's rows in falling order, rows of zeros after the last; the answers do not depend on what
    lies beside a photo on its canvas.
    """

    def rows(self, images: Sequence[ByteArray]) -> list[FloatArray]:
        canvases = [smallest_canvas(image.shape[:2], self._sizes) for image in images]
        found: list[FloatArray] = [np.zeros((0, 0), np.float32)] * len(images)
        order = sorted(range(len(images)), key=canvases.__getitem__)
        for canvas, group in groupby(order, key=canvases.__getitem__):
            indices = list(group)
            size = most_of(canvas, self._sizes, self._most)
            for start in range(0, len(indices), size):
                part = indices[start : start + size]
                rows = self._rows_on(canvas, [images[index] for index in part])
                for index, one in zip(part, rows, strict=True):
                    found[index] = one
        return found

    def _rows_on(self, canvas: Canvas, images: Sequence[ByteArray]) -> list[FloatArray]:
        """`rows` of images that one run takes."""
        answer = self._run(self._laid(canvas, images), _first_rows)
        first = answer.heads[0].numpy()
        [rows] = answer.outputs
        return [
            _filled(first[index] if not first[index, -1].any() else self._fetched(rows[index]))
            for index in range(len(images))
        ]

    def _fetched(self, rows: Tensor) -> FloatArray:
        fetched: FloatArray = self._device.fetch(rows).numpy()
        return fetched

    def _laid(self, canvas: Canvas, images: Sequence[ByteArray]) -> tuple[Tensor, Tensor]:
        """The images in the upper left of canvases, and their sizes; the rest is not set."""
        canvases = self._device.staging((len(images), *canvas, 3), torch.uint8)
        sizes = self._device.staging((len(images), 2), torch.int32)
        for index, image in enumerate(images):
            height, width = image.shape[:2]
            canvases.numpy()[index, :height, :width] = image
            sizes.numpy()[index] = height, width
        return canvases, sizes

    def _example(self, shape: Shape) -> tuple[Tensor, ...]:
        device = self._device.torch_device
        sizes = torch.tensor([[shape.height, shape.width]], dtype=torch.int32, device=device)
        return (*super()._example(shape), sizes.repeat(shape.count, 1))


def smallest_canvas(size: tuple[int, ...], canvases: Sequence[Canvas]) -> Canvas:
    """The canvas of the smallest area that holds a photo of `size`, height and width.

    For a photo that none holds: its own size, rounded up to what the networks take.
    """
    height, width = size
    fitting = [canvas for canvas in canvases if canvas[0] >= height and canvas[1] >= width]
    if fitting:
        return min(fitting, key=lambda canvas: canvas[0] * canvas[1])
    return height + -height % CANVAS_STEP, width + -width % CANVAS_STEP


def _all(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs


def _first_rows(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs[0][:, :_FIRST_ROWS],)


def _filled(rows: FloatArray) -> FloatArray:
    """The rows before the first one of zeros."""
    return rows[: int(rows.any(axis=1).sum())]
