"""The published recognizers, loaded from checkpoints in folders, against reference answers."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from configs.model import Runtime
from configs.recognizer import RecognizerConfig
from deployments.errors import ModelUnavailable
from deployments.inference.half_precision import LOWEST_COSINE
from deployments.recognizer import Recognizer, load_recognizer
from deployments.recognizer.recognizer import recognizer_from
from tests.support import parity
from tests.support.gpu import on_gpu
from tests.support.published_models import (
    chips,
    kept_while_used,
    save_configuration,
    save_plain,
    save_prefixed,
    save_safetensors,
)

TOLERANCE = 1e-4


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


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_arcface_embeds_as_published(arcface: Path, runtime: Runtime) -> None:
    recognizer = load_recognizer("arcface-ir50", weights=arcface, runtime=runtime)
    embeddings = recognizer.embed(chips())
    assert recognizer.backend.choice.runtime == runtime
    assert parity.difference(embeddings.vectors, "arcface_ir50.embedding") < TOLERANCE
    assert embeddings.uncertainty is None


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_rts_gives_embeddings_and_uncertainties_as_published(rts: Path, runtime: Runtime) -> None:
    recognizer = load_recognizer("rts", weights=rts, runtime=runtime)
    embeddings = recognizer.embed(chips())
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
def test_float16_on_a_gpu_is_kept_as_its_embeddings_are_near(arcface: Path) -> None:
    recognizer = recognizer_from(
        RecognizerConfig(model="arcface-ir50", weights=arcface, device="cuda", precision="float16")
    )
    assert recognizer.backend.choice.precision == "float16"
    cosines = (recognizer.embed(chips()).vectors * parity.answers()["arcface_ir50.embedding"]).sum(
        1
    )
    assert cosines.min() > LOWEST_COSINE


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
