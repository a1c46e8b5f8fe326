"""An ONNX file in the runtime that suits it."""

from pathlib import Path
from typing import TYPE_CHECKING

from configs.catalogue import Model
from configs.model import ModelConfig
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.inference.backend import FeaturesToOutputs, Network, SplitBackend
from deployments.inference.choice import (
    openvino_is_installed,
    runs_in_openvino,
    with_settled_precision,
)
from deployments.inference.onnx_runtime import (
    OnnxRuntimeBackend,
    OnnxRuntimeFeatures,
)
from deployments.inference.onnx_split import split_at_concatenation

if TYPE_CHECKING:  # imported where it is used, as it may be missing
    from deployments.inference.openvino_runtime import OpenVinoBackend


def backend_from_onnx(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OnnxRuntimeBackend | OpenVinoBackend | SplitBackend":
    """Raises as `load_backend` does."""
    config = with_settled_precision(config, network)
    if not network.in_levels:
        return _whole(file, source=source, model=model, config=config, network=network)
    where = f"{model.id}: {source}"
    content = file.read_bytes() if isinstance(file, Path) else file
    graph = split_at_concatenation(content, where=where)
    first = _whole(graph.first, source=source, model=model, config=config, network=network)
    if isinstance(first, OnnxRuntimeBackend):
        second: FeaturesToOutputs = OnnxRuntimeFeatures(graph.second, where=where, config=config)
    else:
        from deployments.inference.openvino_runtime import OpenVinoFeatures

        second = OpenVinoFeatures(graph.second, where=where, config=config)
    return SplitBackend(first, second, graph.outputs)


def _whole(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OnnxRuntimeBackend | OpenVinoBackend":
    if runs_in_openvino(config, network):
        try:
            return _in_openvino(file, source=source, model=model, config=config, network=network)
        except InvalidWeights:
            if config.runtime == "openvino" or config.precision != "float32":
                raise
            # ONNX Runtime knows more operators; if it fails too, its reason is the one to read.
    return OnnxRuntimeBackend(file, source=source, model=model, config=config, network=network)


def _in_openvino(
    file: Path | bytes, *, source: str, model: Model, config: ModelConfig, network: Network
) -> "OpenVinoBackend":
    if not openvino_is_installed():
        asked = "precision: bfloat16" if config.runtime == "auto" else "runtime: openvino"
        raise InvalidConfig(f"{asked} needs the package openvino for {model.id}")
    from deployments.inference.openvino_runtime import OpenVinoBackend

    return OpenVinoBackend(file, source=source, model=model, config=config, network=network)
