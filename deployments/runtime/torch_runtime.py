"""PyTorch, on the CPU or on a GPU."""

import threading
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from configs.model import Device, ModelConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.errors import InvalidConfig
from deployments.models import Model

_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchBackend:
    """A network in eval mode. The first call on a GPU is slow: it picks algorithms.

    Two settings are the whole process's, not the backend's: the threads inside one call
    (`torch.set_num_threads`; the backend made last decides) and TF32, which is switched off because
    it would round float32 to 10 bits. Every calling thread has a CUDA stream of its own.
    """

    runtime = "torch"

    def __init__(self, module: nn.Module, *, model: Model, config: ModelConfig) -> None:
        device = torch_device(config.device)
        if device.type == "cpu" and config.precision == "float16":
            raise InvalidConfig(
                f"precision: float16 needs a GPU, and PyTorch sees none for {model.id}"
            )
        torch.set_num_threads(config.threads)
        torch.backends.cudnn.allow_tf32 = False
        self._device = device
        self._type = _TYPES[config.precision]
        self._module = module.eval().to(device, self._type)
        convert_conv2d_weight_memory_format(self._module, torch.channels_last)
        self._rgb = model.preprocessing.rgb
        self._mean = torch.tensor(model.preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._scale = model.preprocessing.scale
        self._streams = threading.local()
        if device.type == "cuda":
            torch.cuda.synchronize()  # the weights are there before another stream reads them

    @property
    def device(self) -> str:
        return self._device.type

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        with torch.inference_mode(), self._stream():
            outputs = self._module(self._normalised(self._uploaded(pixels)))
            return self._downloaded(outputs if isinstance(outputs, tuple) else (outputs,))

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
        return images.pin_memory().to(self._device, non_blocking=True)

    def _normalised(self, images: Tensor) -> Tensor:
        """uint8 [B,H,W,3] BGR -> [B,3,H,W] as the network was trained, in its precision."""
        channels = images.flip(-1) if self._rgb else images
        planes = (channels.permute(0, 3, 1, 2).float() - self._mean) / self._scale
        return planes.to(self._type, memory_format=torch.channels_last)

    def _downloaded(self, outputs: tuple[Tensor, ...]) -> tuple[FloatArray, ...]:
        moved = [output.float().to("cpu", non_blocking=True) for output in outputs]
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # else numpy reads too early
        return tuple(output.contiguous().numpy() for output in moved)


def torch_device(device: Device) -> torch.device:
    """The device that is meant; `auto` takes a GPU where there is one. Raises InvalidConfig."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InvalidConfig("device: cuda, but PyTorch sees no GPU")
    return torch.device("cpu" if device == "cpu" or not available else "cuda")
