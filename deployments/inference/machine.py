"""The inference runtimes and the hardware of this computer."""

from functools import cached_property
from importlib.util import find_spec


class ThisMachine:
    """This computer, as `choice.choose` asks about it. A property looks when it is first read."""

    @cached_property
    def torch_gpu(self) -> bool:
        """True if PyTorch sees a GPU. Imports PyTorch, which takes seconds and memory."""
        import torch

        return torch.cuda.is_available()

    @cached_property
    def onnxruntime_providers(self) -> tuple[str, ...]:
        """The execution providers that the installed ONNX Runtime is built with."""
        from deployments.inference.onnx_runtime import available_providers

        return available_providers()

    @cached_property
    def openvino(self) -> bool:
        """True if OpenVINO is installed."""
        return find_spec("openvino") is not None

    @cached_property
    def native_bfloat16(self) -> bool:
        """True if OpenVINO is installed, on a CPU that computes bfloat16 natively."""
        if not self.openvino:
            return False
        from deployments.inference.openvino_runtime import computes_bfloat16

        return computes_bfloat16()
