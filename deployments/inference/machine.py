"""The inference runtimes and the hardware of this computer, as far as `choice.choose` asks."""

from functools import cached_property
from importlib.util import find_spec


class Machine:
    """This computer. Each property is looked up when it is first read: some import a runtime."""

    @cached_property
    def torch_gpu(self) -> bool:
        """True if PyTorch sees a GPU. Imports PyTorch, which takes seconds and memory."""
        import torch

        return torch.cuda.is_available()

    @cached_property
    def onnxruntime_providers(self) -> tuple[str, ...]:
        """The execution providers that the installed ONNX Runtime is built with."""
        import onnxruntime

        return tuple(onnxruntime.get_available_providers())

    @cached_property
    def openvino(self) -> bool:
        """True if OpenVINO is installed."""
        return find_spec("openvino") is not None

    @cached_property
    def native_bfloat16(self) -> bool:
        """True if OpenVINO is installed and this CPU computes bfloat16 natively.

        Other CPUs emulate it, which is slower than float32.
        """
        if not self.openvino:
            return False
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
