"""Writing our networks as ONNX, so that ONNX Runtime and OpenVINO can run them."""

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

INPUT_NAME = "input"
# Has all operators that the networks use, and is old enough for OpenVINO and TensorRT to read.
_OPSET = 17


def export_onnx(
    module: nn.Module,
    *,
    example: Tensor,
    free_axes: Mapping[int, str],
    output_names: Sequence[str] = (),
) -> bytes:
    """An ONNX file of `module`, in eval mode, with the weights that it holds.

    `free_axes` names the axes of the input that may differ from `example`, such as {0: "batch"};
    the outputs follow. `output_names` are in the order in which `forward` returns the outputs;
    without them the names are the exporter's. Takes one to three times the weights' memory while
    it runs.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that traces is marked as the older one; the newer one needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            file,  # type: ignore[arg-type]  # the exporter that traces takes open files too
            input_names=[INPUT_NAME],
            output_names=list(output_names),
            dynamic_axes={INPUT_NAME: dict(free_axes)},
            opset_version=_OPSET,
            dynamo=False,
        )
    return file.getvalue()
