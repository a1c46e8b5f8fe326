"""Face recognition on one machine, without Ray."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.model import Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Embeddings, FloatArray
from deployments.errors import InvalidImage, InvalidWeights
from deployments.models import Model, find_model
from deployments.runtime.backend import Backend, load_backend

EMBEDDING_SIZE = 512
CHIP_SHAPE = (112, 112, 3)


class Recognizer:
    """One recognizer behind an inference backend. Safe to call from several threads."""

    def __init__(
        self, config: RecognizerConfig, *, model: Model, backend: Backend, name: str
    ) -> None:
        self.config = config
        self.model = model
        self.backend = backend
        self.name = name
        self._check_output()

    def embed(self, chips: ByteArray) -> Embeddings:
        """Chips uint8 [N,112,112,3] BGR -> N embeddings; N may be 0."""
        return self.embed_many([chips])[0]

    def embed_many(self, requests: Sequence[ByteArray]) -> list[Embeddings]:
        """One Embeddings per request, in order; all chips go through the network together, at
        most `max_batch_faces` at a time."""
        for chips in requests:
            _require_chips(chips)
        vectors = self._vectors(np.concatenate(requests))
        ends = np.cumsum([len(chips) for chips in requests])[:-1]
        return [Embeddings(part, None, self.name) for part in np.split(vectors, ends)]

    def _vectors(self, chips: ByteArray) -> FloatArray:
        size = self.config.max_batch_faces
        parts = [
            self.backend.run(chips[start : start + size])[0] for start in range(0, len(chips), size)
        ]
        if not parts:
            return np.zeros((0, EMBEDDING_SIZE), np.float32)
        return l2_normalise(np.concatenate(parts))

    def _check_output(self) -> None:
        shape = self.backend.run(np.zeros((1, *CHIP_SHAPE), np.uint8))[0].shape
        if shape != (1, EMBEDDING_SIZE):
            raise InvalidWeights(
                f"{self.model.id}: expected an output (N, {EMBEDDING_SIZE}), got {shape}"
            )


def l2_normalise(vectors: FloatArray) -> FloatArray:
    """float32 [N,D] -> the same directions at length 1; a vector of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    normalised: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return normalised


def _require_chips(chips: ByteArray) -> None:
    if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != CHIP_SHAPE:
        raise InvalidImage(
            f"chips: expected uint8 (N, 112, 112, 3) BGR, got {chips.dtype} {chips.shape}"
        )


def load_recognizer(
    model: str = "arcface-mbf", *, weights: Path | str | None = None, runtime: Runtime = "auto"
) -> Recognizer:
    """A recognizer of the catalogue with the default settings.

    weights: folder holding the published files; without it the default sources are looked up.
    Raises ModelUnavailable where there are none, InvalidWeights where they do not fit.
    """
    folder = Path(weights) if weights else None
    return recognizer_from(RecognizerConfig(model=model, weights=folder, runtime=runtime))


def recognizer_from(config: RecognizerConfig, *, name: str | None = None) -> Recognizer:
    model = find_model(config.model, "recognizer")
    return Recognizer(
        config, model=model, backend=load_backend(model, config), name=name or model.id
    )
