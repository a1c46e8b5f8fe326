"""PyTorch's backend, on the CPU or on a GPU."""

import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from configs.catalogue import Preprocessing
from deployments.contracts import ByteArray, FloatArray
from deployments.inference.backend import ModelSpec, Network
from deployments.inference.torch_modes import CudaRecorder, Forward, Replays, warm_up_shapes

_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


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

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(self._normalised(images))
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.float() for output in several)

    def _normalised(self, images: Tensor) -> Tensor:
        """uint8 [B,H,W,3] BGR -> [B,3,H,W] as the network was trained, in its precision."""
        channels = images.flip(-1) if self._rgb else images
        planes = (channels.permute(0, 3, 1, 2).float() - self.mean) / self._scale
        return planes.to(self._precision, memory_format=torch.channels_last)


class TorchBackend:
    """A network in eval mode, run eagerly or as CUDA graphs.

    With CUDA graphs the constructor records the shapes to come; run eagerly, the first call on a
    GPU is slow, because it picks algorithms.

    Two settings are the whole process's, not the backend's: the threads inside one call
    (`torch.set_num_threads`; the last backend sets it) and TF32, which is off because it rounds
    float32 to 10 bits. Each calling thread has its own CUDA stream.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec) -> None:
        self.choice = spec.choice
        torch.set_num_threads(spec.config.threads)
        torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device(spec.choice.device)
        self._streams = threading.local()
        pixel_network = PixelNetwork(
            module,
            preprocessing=spec.model.preprocessing,
            precision=_TYPES[spec.choice.precision],
        ).to(self._device)
        if self._device.type == "cuda":
            torch.cuda.synchronize()  # the weights are there before another stream reads them
        self._forward: Forward = pixel_network
        if spec.choice.torch_mode == "cuda_graphs":
            recorder = CudaRecorder(pixel_network, device=self._device)
            replays = Replays(pixel_network, recorder, most=spec.network.max_batch)
            self._forward = replays
            self._warm_up(replays, spec.network)

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        with torch.inference_mode(), self._stream():
            return self._downloaded(self._forward(self._uploaded(pixels)))

    def _warm_up(self, replays: Replays, network: Network) -> None:
        for shape in warm_up_shapes(network):
            with torch.inference_mode(), self._stream():
                replays.record(shape)
            self.run(np.zeros(shape, np.uint8))

    def _stream(self) -> AbstractContextManager[object]:
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._streams, "of_thread"):
            self._streams.of_thread = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._streams.of_thread)

    def _uploaded(self, pixels: ByteArray) -> Tensor:
        """uint8 [B,H,W,3] on the device."""
        # PyTorch warns of read-only arrays, which those from another process are.
        images = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        if self._device.type == "cpu":
            return images
        # PyTorch does not reuse the pinned memory until the copy from it is done.
        return images.pin_memory().to(self._device, non_blocking=True)

    def _downloaded(self, outputs: tuple[Tensor, ...]) -> tuple[FloatArray, ...]:
        moved = [output.to("cpu", non_blocking=True) for output in outputs]
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # else numpy reads too early
        return tuple(output.contiguous().numpy() for output in moved)
