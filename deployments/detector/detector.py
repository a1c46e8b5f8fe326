"""Face detection on one machine, without Ray."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.detector import DetectorConfig, SecondPass
from configs.model import Runtime
from deployments.contracts import ByteArray, Detections
from deployments.detector.postprocess import drop_small, faces_from_rows
from deployments.detector.preprocess import (
    NetworkInput,
    first_side,
    framed_input,
    network_input,
    resized_input,
)
from deployments.models import Model, find_model
from deployments.runtime.backend import Backend, load_backend
from deployments.runtime.images import require_bgr
from deployments.runtime.network import Network

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn


# None: not to be looked at.
InputMaker = Callable[[ByteArray], NetworkInput | None]


class Detector:
    """RetinaFace behind an inference backend. Safe to call from several threads."""

    def __init__(self, config: DetectorConfig, *, model: Model, backend: Backend) -> None:
        self.config = config
        self.model = model
        self.backend = backend
        self._second_inputs = self._makers()

    def detect(self, image: ByteArray) -> Detections:
        """Every face of an image uint8 [H,W,3] BGR, in pixels of that image, best first."""
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[ByteArray]) -> list[Detections]:
        """One Detections per image, in order: `first_look` at all of them, then `look_again` at
        those in which no face was found."""
        found = self.first_look(images)
        return [
            faces if len(faces) else self.look_again(image)
            for image, faces in zip(images, found, strict=True)
        ]

    def first_look(self, images: Sequence[ByteArray]) -> list[Detections]:
        """One Detections per image, in order; images of one network shape run as one batch."""
        inputs = [self._first_input(require_bgr(image)) for image in images]
        found: list[Detections] = [Detections.none()] * len(inputs)
        by_shape = sorted(range(len(inputs)), key=lambda index: inputs[index].pixels.shape)
        for _, group in groupby(by_shape, key=lambda index: inputs[index].pixels.shape):
            indices = list(group)
            batch = [inputs[index] for index in indices]
            for index, detections in zip(indices, self._detect_batch(batch), strict=True):
                found[index] = detections
        return found

    def look_again(self, image: ByteArray) -> Detections:
        """What the configured `second_pass` finds. For one image at a time: batches are meant for
        the size of the first look, and an enlarged photo takes several times its memory."""
        for input_of in self._second_inputs:
            item = input_of(require_bgr(image))
            found = self._detect_batch([item])[0] if item else Detections.none()
            if len(found):
                return found
        return Detections.none()

    def _makers(self) -> list[InputMaker]:
        framed, enlarged = self._framed_input, self._enlarged_input
        makers: dict[SecondPass, list[InputMaker]] = {
            "none": [],
            "pad": [framed],
            "enlarge": [enlarged],
            "both": [framed, enlarged],
        }
        return makers[self.config.second_pass]

    def _first_input(self, photo: ByteArray) -> NetworkInput:
        return network_input(
            photo,
            max_side=self.config.max_side,
            shrink_above=self.config.shrink_above,
            pad_multiple=self.config.pad_multiple,
        )

    def _framed_input(self, photo: ByteArray) -> NetworkInput:
        return framed_input(photo, pad_multiple=self.config.pad_multiple)

    def _enlarged_input(self, photo: ByteArray) -> NetworkInput | None:
        """None where the first look was at this size or a larger one."""
        config, longer = self.config, max(photo.shape[:2])
        side = min(config.enlarged_side, 2 * longer)
        looked = first_side(longer, max_side=config.max_side, shrink_above=config.shrink_above)
        if side <= looked:
            return None
        return resized_input(photo, side=side, pad_multiple=config.pad_multiple)

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
    network = Network(lambda checkpoint: _empty_network(model))
    return Detector(config, model=model, backend=load_backend(model, config, network=network))


def _empty_network(model: Model) -> "nn.Module":
    from deployments.detector.networks import empty_network  # imports PyTorch

    return empty_network(model.network)
