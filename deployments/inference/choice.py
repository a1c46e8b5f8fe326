"""Chooses the runtime, device, precision and PyTorch mode that a model runs in.

`_runtime` settles `runtime: auto`. Nothing else decides: loaders and runtimes obey the choice, and
`facegraph doctor` and `GET /v1/models` print it. The figures are from benchmarks/models.
"""

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.errors import InvalidConfig
from deployments.inference.backend import (
    Choice,
    ChosenDevice,
    ChosenPrecision,
    ChosenRuntime,
    Network,
)
from deployments.inference.machine import Machine


def choose(model: Model, config: ModelConfig, network: Network, machine: Machine) -> Choice:
    """The configured values, with `auto` settled for this network on this machine.

    Imports PyTorch to look for a GPU only if a checkpoint may run there. In float32 the answers of
    all runtimes differ by less than 2e-4.
    Raises InvalidConfig if the machine lacks what the configuration asks for.
    """
    runtime, reason = _runtime(model, config, network, machine)
    if runtime == "torch":
        return _in_torch(config, _torch_device(model, config, machine), reason)
    if runtime == "openvino":
        return _in_openvino(model, config, network, machine, reason)
    return _in_onnxruntime(config, _onnxruntime_device(config, machine), reason)


def _runtime(
    model: Model, config: ModelConfig, network: Network, machine: Machine
) -> tuple[ChosenRuntime, str]:
    """The configured runtime, or the one that `auto` means here, and the reason.

    On the CPU PyTorch is the slowest. For recognizers OpenVINO took 0.67 (MobileFaceNet) and 0.84
    (IResNet-50) of ONNX Runtime's time. For detectors, which see photos of many sizes, the two tie
    at one size, and OpenVINO costs more memory and a slower first call for each new one.
    """
    if config.runtime != "auto":
        return config.runtime, f"runtime: {config.runtime} is configured"
    if not model.is_onnx and _torch_device(model, config, machine) == "cuda":
        return "torch", "auto: a checkpoint on a GPU"
    if config.precision == "bfloat16":
        if model.is_onnx or machine.native_bfloat16:
            return "openvino", "auto: onnxruntime does not compute bfloat16"
        return "torch", "auto: for bfloat16, which openvino does not compute natively here"
    if _onnxruntime_device(config, machine) == "cuda":
        return "onnxruntime", "auto: an ONNX file on a GPU"
    if network.input_size is None:
        reason = "auto: photos of many sizes, for which openvino gains nothing on a CPU"
        return "onnxruntime", reason
    if not machine.openvino:
        return "onnxruntime", "auto: openvino is not installed"
    return "openvino", "auto: the quickest for recognizers on a CPU"


def _torch_device(model: Model, config: ModelConfig, machine: Machine) -> ChosenDevice:
    if config.device == "cpu":
        return "cpu"
    if machine.torch_gpu:
        return "cuda"
    if config.device == "cuda":
        raise InvalidConfig("device: cuda, but PyTorch sees no GPU")
    for asked in (f"precision: {config.precision}", f"torch_mode: {config.torch_mode}"):
        if asked in ("precision: float16", "torch_mode: cuda_graphs"):
            raise InvalidConfig(f"{asked} needs a GPU, and PyTorch sees none for {model.id}")
    return "cpu"


def _in_torch(config: ModelConfig, device: ChosenDevice, reason: str) -> Choice:
    reasons = [reason]
    precision, mode = config.precision, config.torch_mode
    if precision == "auto":
        precision = "float32"
        reasons.append("precision auto: float32 in torch")
    if mode == "auto":
        mode = "cuda_graphs" if device == "cuda" else "eager"
        reasons.append(f"torch_mode auto: {mode} on {device}")
    return Choice("torch", device, precision, "; ".join(reasons), torch_mode=mode)


def _onnxruntime_device(config: ModelConfig, machine: Machine) -> ChosenDevice:
    if config.device == "cpu":
        return "cpu"
    if "CUDAExecutionProvider" in machine.onnxruntime_providers:
        return "cuda"
    if config.device == "cuda":
        raise InvalidConfig(
            "device: cuda needs ONNX Runtime's CUDAExecutionProvider (package onnxruntime-gpu);"
            f" this one has {', '.join(machine.onnxruntime_providers)}"
        )
    return "cpu"


def _in_onnxruntime(config: ModelConfig, device: ChosenDevice, reason: str) -> Choice:
    precision: ChosenPrecision = "float32"
    if config.precision == "auto":
        reason = f"{reason}; precision auto: float32 in onnxruntime"
    if config.precision == "float16":
        if device == "cpu":
            raise InvalidConfig("precision: float16 needs a GPU, and ONNX Runtime finds none")
        precision = "float16"
    fallback = None
    if device == "cuda" and config.device == "auto" and precision == "float32":
        fallback = _in_onnxruntime(config, "cpu", "auto: ONNX Runtime cannot start CUDA here")
    return Choice("onnxruntime", device, precision, reason, fallback=fallback)


def _in_openvino(
    model: Model, config: ModelConfig, network: Network, machine: Machine, reason: str
) -> Choice:
    if not machine.openvino:
        asked = "precision: bfloat16" if config.runtime == "auto" else "runtime: openvino"
        raise InvalidConfig(f"{asked} needs the package openvino for {model.id}")
    precision, why = _openvino_precision(config, network, machine)
    fallback = None
    if config.runtime == "auto" and config.precision != "bfloat16":
        # ONNX Runtime knows more operators.
        fallback = _in_onnxruntime(config, "cpu", "auto: openvino cannot run this file")
    return Choice("openvino", "cpu", precision, reason + why, fallback=fallback)


def _openvino_precision(
    config: ModelConfig, network: Network, machine: Machine
) -> tuple[ChosenPrecision, str]:
    """The precision, and the addition to the reason if it is `auto`.

    In bfloat16 a recognizer's embeddings keep a cosine of 0.999 to those of float32 or more for
    faces of 20 pixels or more; a detector's landmarks move by up to 1.5 pixels, which costs more.
    """
    if config.precision == "bfloat16":
        if not machine.native_bfloat16:
            raise InvalidConfig(
                "precision: bfloat16 in openvino needs a CPU that computes it natively (AVX-512"
                " BF16 or AMX), and this one does not; take float32"
            )
        return "bfloat16", ""
    if config.precision != "auto":
        return "float32", ""
    if network.input_size is None:
        return "float32", "; precision auto: bfloat16 would move a detector's landmarks"
    if not machine.native_bfloat16:
        return "float32", "; precision auto: this CPU does not compute bfloat16 natively"
    return "bfloat16", "; precision auto: this CPU computes bfloat16 natively"
