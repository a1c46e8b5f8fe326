"""Classification of face chips on one machine, without Ray."""

from collections.abc import Sequence

import numpy as np

from configs.catalogue import Classification
from configs.classifier import ClassifierConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.images.margins import area_of
from deployments.images.template import require_chips
from deployments.inference.backend import Backend, Network
from deployments.inference.load import load_backend


class Classifier:
    """One classifier behind an inference backend. Safe to call from several threads."""

    def __init__(self, config: ClassifierConfig, backend: Backend) -> None:
        self.model = config.entry
        self.area = area_of(config)
        self.backend = backend
        self._classification = config.classification
        self._most = config.batch_faces_on(backend.choice.device)

    def classify(self, chips: ByteArray) -> FloatArray:
        """Scores float32 [N,L], 0 to 1, of chips uint8 [N,size,size,3] BGR; N may be 0.

        Raises InvalidImage for an array of another shape or dtype.
        """
        return self.classify_many([chips])[0]

    def classify_many(self, requests: Sequence[ByteArray]) -> list[FloatArray]:
        """`classify` for each request, in order.

        The chips of all requests go through the network together, at most `max_batch_faces` at a
        time.
        """
        for chips in requests:
            require_chips(chips, self.area.size)
        chips = np.concatenate(requests)
        outputs = [
            self.backend.run(chips[start : start + self._most])[0]
            for start in range(0, len(chips), self._most)
        ]
        empty = np.zeros((0, len(self._classification.labels)), np.float32)
        scores = scores_from(np.concatenate([empty, *outputs]), self._classification)
        ends = np.cumsum([len(chips) for chips in requests])
        return np.split(scores, ends[:-1])


def scores_from(outputs: FloatArray, classification: Classification) -> FloatArray:
    """Scores float32 [N,L], 0 to 1, from a network's outputs, float32 [N,L].

    An output that is not a number stays one: nothing can be said of that face.
    """
    if classification.activation == "softmax":
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        softmax: FloatArray = powers / powers.sum(axis=1, keepdims=True)
        return softmax
    if classification.activation == "sigmoid":
        sigmoid = (1 + np.tanh(outputs / 2)) / 2  # does not overflow
        return sigmoid.astype(np.float32)
    scores: FloatArray = np.clip(outputs, 0, 1)
    return scores


def classifier_from(config: ClassifierConfig) -> Classifier:
    """Load a classifier.

    Raises ModelUnavailable if its file is missing, InvalidWeights if it does not fit the entry.
    """
    chip = config.classification
    network = Network(
        input_size=(chip.size, chip.size),
        output_size=len(chip.labels),
        max_batch=config.batch_faces_on,
    )
    return Classifier(config, load_backend(config.entry, config, network=network))
