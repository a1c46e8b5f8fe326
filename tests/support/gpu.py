"""Marks of tests that run on a GPU, where there is one (`make test-gpu`)."""

from collections.abc import Callable
from typing import TypeVar

import onnxruntime
import pytest
import torch

Test = TypeVar("Test", bound=Callable[..., None])

ON_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
)
ONNX_RUNTIME_ON_GPU = (
    *ON_GPU,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="needs onnxruntime-gpu",
    ),
)
# A test's parameter: on the CPU, and on a GPU; of PyTorch, and of ONNX Runtime.
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
ONNX_RUNTIME_DEVICES = ["cpu", pytest.param("cuda", marks=ONNX_RUNTIME_ON_GPU)]


def on_gpu(test: Test) -> Test:
    """Mark a test that needs a GPU."""
    for mark in ON_GPU:
        test = mark(test)
    return test
