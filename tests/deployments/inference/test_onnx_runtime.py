"""ONNX Runtime's CUDA provider that cannot start: the error names what is missing."""

import re
from functools import partial
from pathlib import Path

import onnxruntime
import pytest

from configs.catalogue import CATALOGUE
from configs.recognizer import RecognizerConfig
from deployments.errors import InvalidConfig
from deployments.inference.backend import Choice, ChosenPrecision, ModelSpec, Network
from deployments.inference.half_precision import half_if_near
from deployments.inference.load_onnx import backend_from_onnx
from deployments.inference.onnx_runtime import OnnxRuntimeBackend, load_fault
from tests.support.small_recognizer import small_recognizer

# The small library that ONNX Runtime's providers share. It needs libc.so.6.
LIBRARY = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so"
NETWORK = Network(input_size=(112, 112), output_size=512)
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="needs an ONNX Runtime without CUDA",
)


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    fault = load_fault(tmp_path / "libof_nobody.so.9")
    assert fault is not None
    assert "libof_nobody.so.9: cannot open shared object file" in fault


def test_a_library_that_a_library_needs_is_named(tmp_path: Path) -> None:
    content = LIBRARY.read_bytes()
    assert content.count(b"libc.so.6\0") == 1
    needs_another = tmp_path / "libprovider.so"
    needs_another.write_bytes(content.replace(b"libc.so.6\0", b"libq.so.6\0"))
    fault = load_fault(needs_another)
    assert fault is not None
    assert fault.startswith("libq.so.6: cannot open shared object file")


def test_a_library_that_loads_has_no_fault(tmp_path: Path) -> None:
    copied = tmp_path / "libprovider.so"
    copied.write_bytes(LIBRARY.read_bytes())
    assert load_fault(copied) is None


def spec(precision: ChosenPrecision = "float32", fallback: Choice | None = None) -> ModelSpec:
    choice = Choice("onnxruntime", "cuda", precision, "a test", fallback=fallback)
    return ModelSpec(CATALOGUE["frfm"], RecognizerConfig(model="frfm"), NETWORK, choice, "a file")


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_provider_that_cannot_start_is_an_error_in_every_precision(
    precision: ChosenPrecision, caplog: pytest.LogCaptureFixture
) -> None:
    load = partial(OnnxRuntimeBackend, small_recognizer().SerializeToString())
    checked = partial(half_if_near, load) if precision == "float16" else load
    needed = r"CUDAExecutionProvider: .*libonnxruntime_providers_cuda\.so: cannot open shared"
    with pytest.raises(InvalidConfig, match=f"ONNX Runtime could not start {needed}"):
        checked(spec(precision))
    assert not caplog.text


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
def test_a_provider_that_nobody_asked_for_by_name_gives_way_to_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    instead = Choice("onnxruntime", "cpu", "float32", "instead")
    found = backend_from_onnx(small_recognizer().SerializeToString(), spec(fallback=instead))
    assert found.choice == instead
    assert re.search(r"falls back to onnxruntime: .*providers_cuda\.so", caplog.text)
