"""Chooses the runtime, device and precision that a model runs in."""

from importlib.util import find_spec

from configs.model import ModelConfig
from deployments.inference.backend import Network
from deployments.inference.onnx_runtime import (
    cuda_is_available,
)


def with_settled_precision(config: ModelConfig, network: Network) -> ModelConfig:
    """The configuration, with what precision `auto` means here.

    In bfloat16 a recognizer's embeddings keep a cosine of 0.999 to those of float32 or more for
    faces of 20 pixels or more; a detector's landmarks move by up to 1.5 pixels, which costs more.
    """
    if config.precision != "auto":
        return config
    halved = runs_in_openvino(config, network) and network.input_size is not None
    precision = "bfloat16" if halved and openvino_computes_bfloat16() else "float32"
    return config.model_copy(update={"precision": precision})


def openvino_computes_bfloat16() -> bool:
    """Whether OpenVINO is installed, on a CPU that computes bfloat16 natively."""
    if not openvino_is_installed():
        return False
    from deployments.inference.openvino_runtime import computes_bfloat16

    return computes_bfloat16()


def runs_in_openvino(config: ModelConfig, network: Network) -> bool:
    """What `auto` means, by benchmarks/models: in float32 OpenVINO took 0.67 (MobileFaceNet)
    and 0.84 (IResNet-50) of ONNX Runtime's time; the detectors, which see photos of many sizes, tie
    at one size, and cost more memory and a slower first call for each new one."""
    if config.runtime != "auto":
        return config.runtime == "openvino"
    if config.precision == "bfloat16":
        return True  # ONNX Runtime does not compute it
    on_cuda = config.device == "cuda" or (config.device == "auto" and cuda_is_available())
    return not on_cuda and network.input_size is not None and openvino_is_installed()


def openvino_is_installed() -> bool:
    return find_spec("openvino") is not None


def uses_onnx(config: ModelConfig) -> bool:
    """Whether a checkpoint surely runs as an ONNX file, whatever PyTorch finds on this machine."""
    on_cpu = config.device == "cpu" and config.torch_mode == "eager"
    in_float32 = config.precision in ("auto", "float32")
    return config.runtime in ("onnxruntime", "openvino") or (
        config.runtime == "auto" and on_cpu and in_float32
    )


def runs_in_torch(config: ModelConfig) -> bool:
    """What `auto` means: PyTorch is the slowest on the CPU, see benchmarks/models. In float32
    the answers of all runtimes differ by less than 2e-4."""
    if config.runtime in ("onnxruntime", "openvino"):
        return False
    from deployments.inference.torch_runtime import torch_device  # imports PyTorch: seconds

    device = torch_device(config.device)  # says that a GPU is missing before a large file is read
    asked = config.runtime == "torch" or config.torch_mode != "eager"
    if asked or device.type == "cuda" or config.precision == "float16":
        return True
    return config.precision == "bfloat16" and not openvino_computes_bfloat16()
