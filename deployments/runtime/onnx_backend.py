"""An ONNX file in the runtime that suits it."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from configs.model import ModelConfig
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.models import Model
from deployments.runtime.network import Network
from deployments.runtime.onnx_runtime import (
    OnnxRuntimeBackend,
    OnnxRuntimeFeatures,
    cuda_is_available,
)
from deployments.runtime.split import FeaturesToOutputs, SplitBackend, split_at_concatenation

if TYPE_CHECKING:  # imported where it is used, as it may be missing
    from deployments.runtime.openvino_runtime import OpenVinoBackend


def backend_from_onnx(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OnnxRuntimeBackend | OpenVinoBackend | SplitBackend":
    """Raises as `load_backend` does."""
    config = _with_settled_precision(config, network)
    if not network.in_levels:
        return _whole(file, source=source, model=model, config=config, network=network)
    where = f"{model.id}: {source}"
    content = file.read_bytes() if isinstance(file, Path) else file
    graph = split_at_concatenation(content, where=where)
    first = _whole(graph.first, source=source, model=model, config=config, network=network)
    if isinstance(first, OnnxRuntimeBackend):
        second: FeaturesToOutputs = OnnxRuntimeFeatures(graph.second, where=where, config=config)
    else:
        from deployments.runtime.openvino_runtime import OpenVinoFeatures

        second = OpenVinoFeatures(graph.second, where=where, config=config)
    return SplitBackend(first, second, graph.outputs)


def _whole(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OnnxRuntimeBackend | OpenVinoBackend":
    if _runs_in_openvino(config, network):
        try:
            return _in_openvino(file, source=source, model=model, config=config, network=network)
        except InvalidWeights:
            if config.runtime == "openvino" or config.precision != "float32":
                raise
            # ONNX Runtime knows more operators; if it fails too, its reason is the one to read.
    return OnnxRuntimeBackend(file, source=source, model=model, config=config, network=network)


def _with_settled_precision(config: ModelConfig, network: Network) -> ModelConfig:
    """The configuration, with what precision `auto` means here.

    In bfloat16 a recognizer's embeddings keep a cosine of 0.999 to those of float32 or more for
    faces of 20 pixels or more; a detector's landmarks move by up to 1.5 pixels, which costs more.
    """
    if config.precision != "auto":
        return config
    halved = _runs_in_openvino(config, network) and network.input_size is not None
    precision = "bfloat16" if halved and openvino_computes_bfloat16() else "float32"
    return config.model_copy(update={"precision": precision})


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
