"""Chooses the runtime, device, precision and PyTorch mode that a model runs in.

Nothing else decides them: loaders and runtimes obey the choice, `facegraph doctor` and
`GET /v1/models` print it. The figures are from benchmarks/models.
"""

from typing import Literal, Protocol

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.errors import InvalidConfig
from deployments.inference.backend import Choice, Network

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "float16", "bfloat16"]


class Machine(Protocol):
    """The properties of a computer that a choice depends on; see `machine.ThisMachine`."""

    @property
    def torch_gpu(self) -> bool: ...

    @property
    def onnxruntime_providers(self) -> tuple[str, ...]: ...

    @property
    def openvino(self) -> bool: ...

    @property
    def native_bfloat16(self) -> bool: ...


def choose(model: Model, config: ModelConfig, network: Network, machine: Machine) -> Choice:
    """The configured values, with `auto` settled for this network on this machine.

    Asks the machine for PyTorch's GPU only if nothing else settles the choice. In float32 the
    answers of all runtimes differ by less than 2e-4.
    Raises InvalidConfig if the machine lacks what the configuration asks for.
    """
    if config.runtime in ("auto", "torch") and not model.is_onnx:
        device = _torch_device(model, config, machine)
        reason = _reason_for_torch(config, device, machine)
        if reason:
            return _in_torch(config, device, reason)
    if config.runtime == "openvino":
        return _in_openvino(model, config, network, machine, "runtime: openvino is configured")
    if config.runtime == "auto" and config.precision == "bfloat16":
        reason = "auto: onnxruntime does not compute bfloat16"
        return _in_openvino(model, config, network, machine, reason)
    return _in_float32(model, config, network, machine)


def _reason_for_torch(config: ModelConfig, device: Device, machine: Machine) -> str | None:
    """Why a checkpoint runs in PyTorch; None if it does not. On the CPU PyTorch is the slowest."""
    if config.runtime == "torch":
        return "runtime: torch is configured"
    if device == "cuda":
        return "auto: a checkpoint on a GPU"
    if config.precision == "bfloat16" and not machine.native_bfloat16:
        return "auto: for bfloat16, which openvino does not compute natively here"
    return None


def _torch_device(model: Model, config: ModelConfig, machine: Machine) -> Device:
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


def _in_torch(config: ModelConfig, device: Device, reason: str) -> Choice:
    reasons = [reason]
    precision, mode = config.precision, config.torch_mode
    if precision == "auto":
        precision = "float32"
        reasons.append("precision auto: float32 in torch")
    if mode == "auto":
        mode = "cuda_graphs" if device == "cuda" else "eager"
        reasons.append(f"torch_mode auto: {mode} on {device}")
    return Choice("torch", device, precision, "; ".join(reasons), torch_mode=mode)


def _in_float32(model: Model, config: ModelConfig, network: Network, machine: Machine) -> Choice:
    """ONNX Runtime, or OpenVINO for recognizers on the CPU.

    OpenVINO took 0.67 (MobileFaceNet) and 0.84 (IResNet-50) of ONNX Runtime's time. For detectors,
    which see photos of many sizes, the two tie at one size, and OpenVINO costs more memory and a
    slower first call for each new one.
    """
    device = _onnxruntime_device(config, machine)
    if config.runtime == "onnxruntime":
        return _in_onnxruntime(config, device, "runtime: onnxruntime is configured")
    if device == "cuda":
        return _in_onnxruntime(config, device, "auto: an ONNX file on a GPU")
    if network.input_size is None:
        reason = "auto: photos of many sizes, for which openvino gains nothing on a CPU"
        return _in_onnxruntime(config, device, reason)
    if not machine.openvino:
        return _in_onnxruntime(config, device, "auto: openvino is not installed")
    reason = "auto: the quickest for recognizers on a CPU"
    return _in_openvino(model, config, network, machine, reason)


def _onnxruntime_device(config: ModelConfig, machine: Machine) -> Device:
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


def _in_onnxruntime(config: ModelConfig, device: Device, reason: str) -> Choice:
    if config.precision == "auto":
        reason = f"{reason}; precision auto: float32 in onnxruntime"
    fallback = None
    if device == "cuda" and config.device == "auto":
        fallback = _in_onnxruntime(config, "cpu", "auto: ONNX Runtime cannot start CUDA here")
    return Choice("onnxruntime", device, "float32", reason, fallback=fallback)


def _in_openvino(
    model: Model, config: ModelConfig, network: Network, machine: Machine, reason: str
) -> Choice:
    if not machine.openvino:
        asked = "precision: bfloat16" if config.runtime == "auto" else "runtime: openvino"
        raise InvalidConfig(f"{asked} needs the package openvino for {model.id}")
    precision, why = _openvino_precision(config, network, machine)
    fallback = None
    if config.runtime == "auto" and precision == "float32":  # ONNX Runtime knows more operators
        fallback = _in_onnxruntime(config, "cpu", "auto: openvino cannot run this file")
    return Choice("openvino", "cpu", precision, reason + why, fallback=fallback)


def _openvino_precision(
    config: ModelConfig, network: Network, machine: Machine
) -> tuple[Precision, str]:
    """The precision, and the reason to add if it is `auto`.

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
