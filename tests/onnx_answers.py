"""A network's answers by way of ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor, nn

from deployments.runtime.onnx_export import INPUT_NAME, export_onnx


def onnx_answers(
    module: nn.Module,
    *,
    output_names: tuple[str, ...],
    example: Tensor,
    free_axes: Mapping[int, str],
    inputs: list[Tensor],
    folder: Path,
) -> list[dict[str, NDArray[np.float32]]]:
    """Exports with `example`, then answers every one of `inputs`, whose free axes may differ."""
    path = folder / "network.onnx"
    export_onnx(module, example=example, path=path, output_names=output_names, free_axes=free_axes)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    path.unlink()  # up to 500 MB, and pytest keeps the folders of three runs
    answers = [session.run(None, {INPUT_NAME: item.numpy()}) for item in inputs]
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, answer, strict=True)) for answer in answers]
