"""Marks of tests that run on a GPU, where there is one (`make test-gpu`)."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

Test = TypeVar("Test", bound=Callable[..., None])

_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
)
# A test's parameter: on the CPU, and on a GPU.
DEVICES = ["cpu", pytest.param("cuda", marks=_MARKS)]


def on_gpu(test: Test) -> Test:
    """Mark a test that needs a GPU."""
    for mark in _MARKS:
        test = mark(test)
    return test
