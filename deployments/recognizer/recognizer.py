"""Face recognition on one machine, without Ray."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.catalogue import Model
from configs.model import Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Embeddings, FloatArray
from deployments.images.alignment import on_arcface_chips
from deployments.images.quality import embedding_quality, image_quality, sharpness
from deployments.images.template import require_chips
from deployments.inference.backend import Backend, Network
from deployments.inference.load import load_backend
from deployments.weights.checksums import version_of
from deployments.weights.find import find_weights

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn

    from deployments.weights.checkpoints import Checkpoint


class Recognizer:
    """One recognizer behind an inference backend. Safe to call from several threads.

    version: of the model and its weights, by `checksums.version_of`.
    """

    def __init__(
        self,
        config: RecognizerConfig,
        *,
        model: Model,
        backend: Backend,
        name: str,
        version: str | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.backend = backend
        self._most = config.batch_faces_on(backend.choice.device)
        self.name = name
        self.version = version

    def embed(self, chips: ByteArray) -> Embeddings:
        """Embed chips uint8 [N,size,size,3] BGR of the model's `chip`; N may be 0.

        Raises InvalidImage for an array of another shape or dtype.
        """
        return self.embed_many([chips])[0]

    def embed_many(self, requests: Sequence[ByteArray]) -> list[Embeddings]:
        """`embed` for each request, in order.

        The chips of all requests go through the network together, at most `max_batch_faces` at a
        time.
        """
        for chips in requests:
            require_chips(chips, self.model.chip.size)
        chips = np.concatenate(requests)
        raw, uncertainty = self._embed(chips)
        quality = self._quality(raw, chips)
        vectors = l2_normalise(raw)
        ends = np.cumsum([len(chips) for chips in requests])
        slices = [slice(end - len(chips), end) for chips, end in zip(requests, ends, strict=True)]
        return [
            Embeddings(
                vectors[own],
                None if uncertainty is None else uncertainty[own],
                self.name,
                version=self.version,
                quality=quality[own],
            )
            for own in slices
        ]

    def _embed(self, chips: ByteArray) -> tuple[FloatArray, FloatArray | None]:
        """The network's vectors float32 [N,D], and uncertainties float32 [N] or None.

        RTS draws a temperature: the sum of `alpha` squared Gaussians, divided by a constant. The
        network gives their variances. The temperature's expectation is proportional to their mean,
        which is the uncertainty, as in OpenOOD's RTS. Without RTS+ there is one variance.
        """
        size = self._most
        parts = [
            self.backend.run(chips[start : start + size]) for start in range(0, len(chips), size)
        ]
        vectors = [
            np.zeros((0, self.model.embedding_size), np.float32),
            *(part[0] for part in parts),
        ]
        if not self.model.gives_uncertainty:
            return np.concatenate(vectors), None
        uncertainty = [np.zeros(0, np.float32), *(part[1].mean(axis=1) for part in parts)]
        return np.concatenate(vectors), np.concatenate(uncertainty)

    def _quality(self, vectors: FloatArray, chips: ByteArray) -> FloatArray:
        """float32 [N], by the model's calibration, or by the chips' sharpness alone."""
        calibration = self.model.quality
        measured = sharpness(on_arcface_chips(chips, self.model.chip))
        if calibration is None:
            return image_quality(measured)
        return embedding_quality(np.linalg.norm(vectors, axis=1), measured, calibration)


def l2_normalise(vectors: FloatArray) -> FloatArray:
    """Scale each vector of float32 [N,D] to length 1; a vector of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    normalised: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return normalised


def load_recognizer(
    model: str = "arcface-mbf", *, weights: Path | str | None = None, runtime: Runtime = "auto"
) -> Recognizer:
    """Load a recognizer of the catalogue; `recognizer_from` takes all settings.

    weights: folder with the published files; by default, the catalogue's sources are searched.
    Raises ModelUnavailable if the weights are missing, InvalidWeights if they do not fit.
    """
    folder = Path(weights) if weights else None
    return recognizer_from(RecognizerConfig(model=model, weights=folder, runtime=runtime))


def recognizer_from(config: RecognizerConfig, *, name: str | None = None) -> Recognizer:
    model = config.entry
    network = Network(
        lambda checkpoint: _empty_network(model, checkpoint),
        input_size=(model.chip.size, model.chip.size),
        output_size=model.embedding_size,
        max_batch=config.batch_faces_on,
    )
    backend = load_backend(model, config, network=network)
    version = version_of(model, find_weights(model, config.weights).path)
    return Recognizer(config, model=model, backend=backend, name=name or model.id, version=version)


def _empty_network(model: Model, checkpoint: "Checkpoint") -> "nn.Module":
    from deployments.recognizer.networks import empty_network  # imports PyTorch

    assert model.network, "an ONNX file holds its network"
    return empty_network(model.network, checkpoint)
