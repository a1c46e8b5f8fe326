"""An ONNX file in the runtime that suits it."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from configs.model import ModelConfig
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.models import Model
from deployments.runtime.network import Network
from deployments.runtime.onnx_runtime import OnnxRuntimeBackend, cuda_is_available

if TYPE_CHECKING:  # imported where it is used, as it may be missing
    from deployments.runtime.openvino_runtime import OpenVinoBackend


def backend_from_onnx(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OnnxRuntimeBackend | OpenVinoBackend":
    """Raises as `load_backend` does."""
    if _runs_in_openvino(config, network):
        try:
            return _in_openvino(file, source=source, model=model, config=config, network=network)
        except InvalidWeights:
            if config.runtime == "openvino" or config.precision != "float32":
                raise
            # ONNX Runtime knows more operators; if it fails too, its reason is the one to read.
    return OnnxRuntimeBackend(file, source=source, model=model, config=config, network=network)


def openvino_computes_bfloat16() -> bool:
    """Whether OpenVINO is installed, on a CPU that computes bfloat16 natively."""
    if not _openvino_is_installed():
        return False
    from deployments.runtime.openvino_runtime import computes_bfloat16

    return computes_bfloat16()


def _runs_in_openvino(config: ModelConfig, network: Network) -> bool:
    """What `auto` means, by benchmarks/runtimes.py: in float32 OpenVINO took 0.67 (MobileFaceNet)
    and 0.84 (IResNet-50) of ONNX Runtime's time; the detectors, which see photos of many sizes, tie
    at one size, and cost more memory and a slower first call for each new one."""
    if config.runtime != "auto":
        return config.runtime == "openvino"
    if config.precision == "bfloat16":
        return True  # ONNX Runtime does not compute it
    on_cuda = config.device == "cuda" or (config.device == "auto" and cuda_is_available())
    return not on_cuda and network.input_size is not None and _openvino_is_installed()


def _in_openvino(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OpenVinoBackend":
    if not _openvino_is_installed():
        asked = "precision: bfloat16" if config.runtime == "auto" else "runtime: openvino"
        raise InvalidConfig(f"{asked} needs the package openvino for {model.id}")
    from deployments.runtime.openvino_runtime import OpenVinoBackend

    return OpenVinoBackend(file, source=source, model=model, config=config, network=network)


def _openvino_is_installed() -> bool:
    return find_spec("openvino") is not None
