"""Face detection on one machine, without Ray."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from configs.detector import DetectorConfig
from configs.model import Runtime
from deployments.contracts import ByteArray, Detections
from deployments.detector.postprocess import drop_small, faces_from_rows
from deployments.detector.preprocess import NetworkInput, network_input
from deployments.models import Model, find_model
from deployments.runtime.backend import Backend, load_backend
from deployments.runtime.images import require_bgr


class Detector:
    """RetinaFace behind an inference backend. Safe to call from several threads."""

    def __init__(self, config: DetectorConfig, *, model: Model, backend: Backend) -> None:
        self.config = config
        self.model = model
        self.backend = backend

    def detect(self, image: ByteArray) -> Detections:
        """Every face of an image uint8 [H,W,3] BGR, in pixels of that image, best first."""
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[ByteArray]) -> list[Detections]:
        """One Detections per image, in order; images of one network shape run as one batch."""
        inputs = [self._network_input(image) for image in images]
        found: list[Detections] = [Detections.none()] * len(inputs)
        by_shape = sorted(range(len(inputs)), key=lambda index: inputs[index].pixels.shape)
        for _, group in groupby(by_shape, key=lambda index: inputs[index].pixels.shape):
            indices = list(group)
            batch = [inputs[index] for index in indices]
            for index, detections in zip(indices, self._detect_batch(batch), strict=True):
                found[index] = detections
        return found

    def _network_input(self, image: ByteArray) -> NetworkInput:
        return network_input(
            require_bgr(image),
            max_side=self.config.max_side,
            pad_multiple=self.config.pad_multiple,
        )

    def _detect_batch(self, batch: Sequence[NetworkInput]) -> list[Detections]:
        loc, conf, landmarks = self.backend.run(np.stack([item.pixels for item in batch]))
        return [
            self._faces(item, loc[row], conf[row, :, 1], landmarks[row])
            for row, item in enumerate(batch)
        ]

    def _faces(self, item: NetworkInput, *rows: np.ndarray) -> Detections:
        shape = (item.pixels.shape[0], item.pixels.shape[1])
        found = faces_from_rows(*rows, input_shape=shape, config=self.config)
        return drop_small(item.to_photo(found), self.config.min_face_px)


def load_detector(
    model: str = "retinaface-mnet025",
    *,
    weights: Path | str | None = None,
    runtime: Runtime = "auto",
    max_side: int | None = None,
) -> Detector:
    """A detector of the catalogue; other settings through `detector_from(DetectorConfig(...))`.

    weights: folder holding the published files; without it the default sources are looked up.
    max_side: longer side, in pixels, that larger images are shrunk to; None keeps their size.
    Raises ModelUnavailable where there are none, InvalidWeights where they do not fit.
    """
    return detector_from(
        DetectorConfig(
            model=model,
            weights=Path(weights) if weights else None,
            runtime=runtime,
            max_side=max_side,
        )
    )


def detector_from(config: DetectorConfig) -> Detector:
    model = find_model(config.model, "detector")
    return Detector(config, model=model, backend=load_backend(model, config))
