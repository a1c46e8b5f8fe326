"""Exports PyTorch networks as ONNX files, which ONNX Runtime and OpenVINO run."""

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

INPUT_NAME = "input"
# Version 17 has all operators of the networks, and OpenVINO and TensorRT read it.
_OPSET = 17


def export_onnx(
    module: nn.Module,
    *,
    example: Tensor,
    free_axes: Mapping[int, str],
    output_names: Sequence[str] = (),
) -> bytes:
    """Export `module`, in eval mode, with its weights.

    free_axes: names of the input's axes whose size may differ from the example's, such as
    {0: "batch"}; the outputs' axes follow. output_names: in the order of `forward`'s outputs;
    without them the exporter names them. Needs one to three times the weights' memory.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated; the newer one needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            file,  # type: ignore[arg-type]  # the tracing exporter accepts files
            input_names=[INPUT_NAME],
            output_names=list(output_names),
            dynamic_axes={INPUT_NAME: dict(free_axes)},
            opset_version=_OPSET,
            dynamo=False,
        )
    return file.getvalue()
