"""PyTorch, on the CPU or on a GPU."""

import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from configs.catalogue import Model, Preprocessing
from configs.model import Device, ModelConfig, TorchMode
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig
from deployments.inference.backend import Network
from deployments.inference.torch_modes import CudaRecorder, Forward, Replays, warm_up_shapes

_TYPES = {
    "auto": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_NEED_A_GPU = ("precision: float16", "torch_mode: cuda_graphs")


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
    """A network in eval mode, run as `torch_mode` says.

    Unless that is eager, the shapes to come are run before the constructor returns; eager, the
    first call on a GPU is slow: it picks algorithms.

    Two settings are the whole process's, not the backend's: the threads inside one call
    (`torch.set_num_threads`; the backend made last decides) and TF32, which is switched off because
    it would round float32 to 10 bits. Every calling thread has a CUDA stream of its own.
    """

    runtime = "torch"

    def __init__(
        self, module: nn.Module, *, model: Model, config: ModelConfig, network: Network
    ) -> None:
        """Raises InvalidConfig for what this machine cannot compute or compile."""
        device = torch_device(config.device)
        _require_computed(config, model=model, device=device)
        torch.set_num_threads(config.threads)
        torch.backends.cudnn.allow_tf32 = False
        self._device = device
        self._streams = threading.local()
        pixel_network = PixelNetwork(
            module, preprocessing=model.preprocessing, precision=_TYPES[config.precision]
        ).to(device)
        if device.type == "cuda":
            torch.cuda.synchronize()  # the weights are there before another stream reads them
        self._forward = self._in_mode(
            config.torch_mode, pixel_network, name=model.id, network=network
        )
        if config.torch_mode != "eager":
            for shape in warm_up_shapes(network):
                self.run(np.zeros(shape, np.uint8))

    @property
    def device(self) -> str:
        return self._device.type

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        with torch.inference_mode(), self._stream():
            return self._downloaded(self._forward(self._uploaded(pixels)))

    def _in_mode(
        self, mode: TorchMode, pixel_network: PixelNetwork, *, name: str, network: Network
    ) -> Forward:
        if mode == "eager":
            return pixel_network
        if mode == "cuda_graphs":
            record = CudaRecorder(pixel_network, device=self._device)
            return Replays(record, most=network.max_batch)
        # Imports PyTorch's compiler, which takes seconds and memory that the others do without.
        from deployments.inference.torch_compiled import Compiled

        return Compiled(pixel_network, name=name, any_size=network.input_size is None)

    def _stream(self) -> AbstractContextManager[object]:
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._streams, "of_thread"):
            self._streams.of_thread = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._streams.of_thread)

    def _uploaded(self, pixels: ByteArray) -> Tensor:
        """uint8 [B,H,W,3] on the device."""
        # `copy` because arrays from another process are read-only, which PyTorch warns of.
        images = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        if self._device.type == "cpu":
            return images
        # PyTorch gives the pinned memory to nobody else until the copy out of it is done.
        return images.pin_memory().to(self._device, non_blocking=True)

    def _downloaded(self, outputs: tuple[Tensor, ...]) -> tuple[FloatArray, ...]:
        moved = [output.to("cpu", non_blocking=True) for output in outputs]
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # else numpy reads too early
        return tuple(output.contiguous().numpy() for output in moved)


def torch_device(device: Device) -> torch.device:
    """The device that is meant; `auto` takes a GPU where there is one. Raises InvalidConfig."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InvalidConfig("device: cuda, but PyTorch sees no GPU")
    return torch.device("cpu" if device == "cpu" or not available else "cuda")


def _require_computed(config: ModelConfig, *, model: Model, device: torch.device) -> None:
    if device.type == "cuda":
        return
    for asked in (f"precision: {config.precision}", f"torch_mode: {config.torch_mode}"):
        if asked in _NEED_A_GPU:
            raise InvalidConfig(f"{asked} needs a GPU, and PyTorch sees none for {model.id}")
