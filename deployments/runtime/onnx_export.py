"""Writing our networks as ONNX, so that ONNX Runtime and OpenVINO can run them."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

INPUT_NAME = "input"
# Has all operators that the networks use, and is old enough for OpenVINO and TensorRT to read.
_OPSET = 17


def export_onnx(
    module: nn.Module,
    *,
    example: Tensor,
    path: Path,
    output_names: Sequence[str],
    free_axes: Mapping[int, str],
) -> None:
    """Writes `module`, in eval mode, with the weights it holds. Needs the `onnx` package.

    `free_axes` names the axes of the input that may differ from `example`, such as {0: "batch"};
    the outputs follow. `output_names` are in the order in which `forward` returns the outputs.
    """
    with warnings.catch_warnings():
        # The exporter that traces is marked as the older one; the newer one needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=[INPUT_NAME],
            output_names=list(output_names),
            dynamic_axes={INPUT_NAME: dict(free_axes)},
            opset_version=_OPSET,
            dynamo=False,
        )
