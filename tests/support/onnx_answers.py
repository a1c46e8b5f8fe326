"""Outputs of a PyTorch network, exported and run in ONNX Runtime."""

from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor, nn

from deployments.inference.onnx_export import INPUT_NAME, export_onnx


def onnx_answers(
    module: nn.Module,
    *,
    output_names: tuple[str, ...],
    example: Tensor,
    free_axes: Mapping[int, str],
    inputs: list[Tensor],
) -> list[dict[str, NDArray[np.float32]]]:
    """Export with `example`, then run each of `inputs`, whose free axes may differ."""
    content = export_onnx(module, example=example, free_axes=free_axes, output_names=output_names)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    answers = [session.run(None, {INPUT_NAME: item.numpy()}) for item in inputs]
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, answer, strict=True)) for answer in answers]
