"""The published recognizers, loaded from checkpoints in folders, against reference answers."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from configs.model import Device, Runtime
from configs.recognizer import RecognizerConfig
from deployments.errors import ModelUnavailable
from deployments.inference.half_precision import LOWEST_COSINE
from deployments.recognizer import Recognizer, load_recognizer
from deployments.recognizer.recognizer import recognizer_from
from tests.support import parity
from tests.support.gpu import ON_GPU, ONNX_RUNTIME_ON_GPU, on_gpu
from tests.support.published_models import (
    chips,
    kept_while_used,
    save_configuration,
    save_models,
    save_plain,
    save_prefixed,
    save_safetensors,
)

TOLERANCE = 1e-4
# Of a checkpoint: the runtimes on the CPU, and PyTorch on a GPU.
PLACES = [
    ("torch", "cpu"),
    ("onnxruntime", "cpu"),
    ("openvino", "cpu"),
    pytest.param("torch", "cuda", marks=ON_GPU),
]


@pytest.fixture(scope="module")
def arcface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with kept_while_used(tmp_path_factory.mktemp("arcface")) as folder:
        save_safetensors(folder, parity.published_entries("arcface_ir50"))
        yield folder


@pytest.fixture(scope="module")
def arcface_in_torch(arcface: Path) -> Recognizer:
    return load_recognizer("arcface-ir50", weights=arcface, runtime="torch")


@pytest.fixture(scope="module")
def rts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with kept_while_used(tmp_path_factory.mktemp("rts")) as folder:
        save_plain(folder, parity.published_entries("rts_irse64"))
        yield folder


def loaded(model: str, weights: Path, runtime: Runtime, device: Device) -> Recognizer:
    config = RecognizerConfig(model=model, weights=weights, runtime=runtime, device=device)
    recognizer = recognizer_from(config)
    choice = recognizer.backend.choice
    assert (choice.runtime, choice.device) == (runtime, device)
    return recognizer


@pytest.mark.parametrize(("runtime", "device"), PLACES)
def test_arcface_embeds_as_published(arcface: Path, runtime: Runtime, device: Device) -> None:
    embeddings = loaded("arcface-ir50", arcface, runtime, device).embed(chips())
    assert parity.difference(embeddings.vectors, "arcface_ir50.embedding") < TOLERANCE
    assert embeddings.uncertainty is None


@pytest.mark.parametrize(("runtime", "device"), PLACES)
def test_rts_gives_embeddings_and_uncertainties_as_published(
    rts: Path, runtime: Runtime, device: Device
) -> None:
    embeddings = loaded("rts", rts, runtime, device).embed(chips())
    assert parity.difference(embeddings.vectors, "rts_irse64.embedding") < TOLERANCE
    assert embeddings.uncertainty is not None
    assert embeddings.uncertainty.dtype == np.float32
    assert parity.difference(embeddings.uncertainty[:, None], "rts_irse64.score") < TOLERANCE


def test_rts_plus_gives_the_mean_of_its_variances_chip_by_chip(rts: Path, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.pt").symlink_to(rts / "pytorch_model.pt")
    save_configuration(tmp_path, type="rts-backbone", alpha=32, rts_plus=True)
    recognizer = recognizer_from(
        RecognizerConfig(model="rts", weights=tmp_path, runtime="torch", max_batch_faces=2)
    )
    _, variances = recognizer.backend.run(chips())
    assert variances.shape == (3, 32)
    answers = recognizer.embed_many([chips()[:1], chips()[:0], chips()[1:]])
    parts = [answer.uncertainty for answer in answers if answer.uncertainty is not None]
    assert [part.shape for part in parts] == [(1,), (0,), (2,)]
    np.testing.assert_allclose(np.concatenate(parts), variances.mean(axis=1), rtol=1e-5)


def test_facemask_embeds_as_published(tmp_path: Path) -> None:
    with kept_while_used(tmp_path):
        save_prefixed(tmp_path, parity.published_entries("facemask_ir252"))
        recognizer = load_recognizer("facemask", weights=tmp_path, runtime="torch")
    embeddings = recognizer.embed(chips())
    assert parity.difference(embeddings.vectors, "facemask_ir252.embedding") < TOLERANCE


def test_torch_answers_several_threads_as_it_answers_one(arcface_in_torch: Recognizer) -> None:
    alone = [arcface_in_torch.embed(chip[None]).vectors for chip in chips()]
    with ThreadPoolExecutor(3) as threads:
        together = threads.map(lambda chip: arcface_in_torch.embed(chip[None]).vectors, chips())
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_torch_takes_pixels_that_must_not_be_written(arcface_in_torch: Recognizer) -> None:
    pixels = chips()[:1]
    pixels.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arcface_in_torch.embed(pixels)


def test_half_precision_turns_embeddings_a_little(arcface: Path) -> None:
    recognizer = recognizer_from(
        RecognizerConfig(model="arcface-ir50", weights=arcface, device="cpu", precision="bfloat16")
    )
    vectors = recognizer.embed(chips()[:1]).vectors
    expected = parity.answers()["arcface_ir50.embedding"][:1]
    assert vectors.dtype == np.float32
    assert 0.99 < (vectors * expected).sum() < 0.999999


@on_gpu
@pytest.mark.parametrize(
    ("model", "fixture", "network"),
    [("arcface-ir50", "arcface", "arcface_ir50"), ("rts", "rts", "rts_irse64")],
)
def test_float16_on_a_gpu_is_kept_as_its_embeddings_are_near(
    model: str, fixture: str, network: str, request: pytest.FixtureRequest
) -> None:
    weights: Path = request.getfixturevalue(fixture)
    recognizer = recognizer_from(
        RecognizerConfig(model=model, weights=weights, device="cuda", precision="float16")
    )
    assert_near_in_float16(recognizer, network)


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=ONNX_RUNTIME_ON_GPU) for model in ("frfm", "frir")]
)
def test_an_ir50_as_an_onnx_file_embeds_as_published_on_a_gpu(model: str, tmp_path: Path) -> None:
    with kept_while_used(save_models(tmp_path, model) / model) as folder:
        exact = loaded(model, folder, "onnxruntime", "cuda")
        found = exact.embed(chips()).vectors
        assert parity.difference(found, "arcface_ir50.embedding") < TOLERANCE
        config = exact.config.model_copy(update={"precision": "float16"})
        assert_near_in_float16(recognizer_from(config), "arcface_ir50")


def assert_near_in_float16(recognizer: Recognizer, network: str) -> None:
    assert recognizer.backend.choice.precision == "float16"
    cosines = recognizer.embed(chips()).vectors * parity.answers()[f"{network}.embedding"]
    assert cosines.sum(axis=1).min() > LOWEST_COSINE


def test_missing_weights_are_named_with_every_place_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        load_recognizer("frir", weights=tmp_path)
    assert caught.value.message == (
        f"frir: no model.onnx; looked at {tmp_path / 'model.onnx'}; fetch it with:"
        f" {CATALOGUE['frir'].fetch_command}"
    )
    assert caught.value.details == {"model": "frir", "file": "model.onnx"}


def test_thresholds_that_nobody_published_are_called_so() -> None:
    for name in ("arcface-ir50", "frfm", "frir", "rts", "facemask"):
        config = RecognizerConfig(model=name)
        assert config.decision_threshold == CATALOGUE["arcface-mbf"].threshold
        assert "not calibrated" in (config.threshold_source or "")
