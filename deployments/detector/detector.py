"""Face detection on one machine, without Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.catalogue import Model, find_model
from configs.detector import DetectorConfig, SecondPass
from configs.model import Runtime
from deployments.contracts import ByteArray, Detections, FaceChoice, FloatArray
from deployments.detector.anchors import anchors_for, fine_anchors
from deployments.detector.postprocess import drop_small, faces_from_rows, shows_large_face
from deployments.detector.preprocess import (
    NetworkInput,
    first_side,
    framed_input,
    network_input,
    resized_input,
)
from deployments.images.decode import DecodedImage, require_bgr
from deployments.inference.backend import Backend, Network, SplitBackend, joined
from deployments.inference.load import load_backend

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn


@dataclass(frozen=True, slots=True)
class DetectionRequest:
    """A picture to be looked at, and which of its faces are wanted."""

    picture: DecodedImage
    faces: FaceChoice


# None: not to be looked at.
InputMaker = Callable[[DecodedImage], NetworkInput | None]


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
        """One Detections per image, in order: `detect_first_pass` on all of them, then
        `detect_second_pass` on those in which no face was found."""
        pictures = [DecodedImage.whole(require_bgr(image)) for image in images]
        found = self.detect_first_pass([DetectionRequest(picture, "all") for picture in pictures])
        return [
            faces if len(faces) else self.detect_second_pass(picture)
            for picture, faces in zip(pictures, found, strict=True)
        ]

    def detect_first_pass(self, looks: Sequence[DetectionRequest]) -> list[Detections]:
        """One Detections per look, in order; pictures of one network shape of which the same is
        wanted run as one batch.

        Where only the largest face is wanted, what is found may leave out smaller ones.
        """
        inputs = [self._first_input(look.picture) for look in looks]
        found: list[Detections] = [Detections.none()] * len(inputs)

        def kind(index: int) -> tuple[tuple[int, ...], FaceChoice]:
            return inputs[index].pixels.shape, looks[index].faces

        for (_, faces), group in groupby(sorted(range(len(inputs)), key=kind), key=kind):
            indices = list(group)
            batch = [inputs[index] for index in indices]
            for index, detections in zip(indices, self._detect_batch(batch, faces), strict=True):
                found[index] = detections
        return found

    def detect_second_pass(self, picture: DecodedImage) -> Detections:
        """What the configured `second_pass` finds. For one image at a time: batches are meant for
        the size of the first look, and an enlarged photo takes several times its memory."""
        for input_of in self._second_inputs:
            item = input_of(picture)
            found = self._detect_batch([item])[0] if item else Detections.none()
            if len(found):
                return found
        return Detections.none()

    def first_look_side(self, longer: int) -> int:
        """What the first look needs of a photo's longer side, in pixels."""
        config = self.config
        return first_side(longer, max_side=config.max_side, shrink_above=config.shrink_above)

    def second_look_side(self, longer: int) -> int:
        """What `detect_second_pass` needs of it at most."""
        return min(longer, max(self.config.enlarged_side, self.first_look_side(longer)))

    def _makers(self) -> list[InputMaker]:
        framed, enlarged = self._framed_input, self._enlarged_input
        makers: dict[SecondPass, list[InputMaker]] = {
            "none": [],
            "pad": [framed],
            "enlarge": [enlarged],
            "both": [framed, enlarged],
        }
        return makers[self.config.second_pass]

    def _first_input(self, picture: DecodedImage) -> NetworkInput:
        return network_input(
            picture,
            max_side=self.config.max_side,
            shrink_above=self.config.shrink_above,
            pad_multiple=self.config.pad_multiple,
        )

    def _framed_input(self, picture: DecodedImage) -> NetworkInput:
        return framed_input(picture, pad_multiple=self.config.pad_multiple)

    def _enlarged_input(self, picture: DecodedImage) -> NetworkInput | None:
        """None where the first look was at this size or a larger one."""
        longer = max(picture.width, picture.height)
        side = min(self.config.enlarged_side, 2 * longer)
        if side <= self.first_look_side(longer):
            return None
        return resized_input(picture, side=side, pad_multiple=self.config.pad_multiple)

    def _detect_batch(
        self, batch: Sequence[NetworkInput], faces: FaceChoice = "all"
    ) -> list[Detections]:
        pixels = np.stack([item.pixels for item in batch])
        if faces == "largest" and isinstance(self.backend, SplitBackend):
            found = self._largest_faces(self.backend, pixels)
        else:
            found = self._faces(self.backend.run(pixels), pixels)
        pairs = zip(batch, found, strict=True)
        return [drop_small(item.to_photo(seen), self.config.min_face_px) for item, seen in pairs]

    def _largest_faces(self, backend: SplitBackend, pixels: ByteArray) -> list[Detections]:
        """Takes in the fine anchors only where the coarse ones do not show a face that is larger
        than any that the fine ones find."""
        outputs, features = backend.begin(pixels)
        found = self._faces(outputs, pixels, coarse=True)
        unsure = [row for row, faces in enumerate(found) if not shows_large_face(faces)]
        if unsure:
            fine = backend.finish([feature[unsure] for feature in features])
            rows = joined(fine, [output[unsure] for output in outputs])
            for row, faces in zip(unsure, self._faces(rows, pixels), strict=True):
                found[row] = faces
        return found

    def _faces(
        self, outputs: Sequence[FloatArray], pixels: ByteArray, *, coarse: bool = False
    ) -> list[Detections]:
        """Faces of each image, in pixels of the network's input. `coarse`: the outputs are those of
        all anchors but the fine ones."""
        height, width = pixels.shape[1:3]
        anchors = anchors_for(height, width)[fine_anchors(height, width) if coarse else 0 :]
        loc, conf, landmarks = outputs
        return [
            faces_from_rows(
                loc[row], conf[row, :, 1], landmarks[row], anchors=anchors, config=self.config
            )
            for row in range(len(loc))
        ]


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
    network = Network(lambda checkpoint: _empty_network(model), in_levels=True)
    return Detector(config, model=model, backend=load_backend(model, config, network=network))


def _empty_network(model: Model) -> "nn.Module":
    from deployments.detector.networks import empty_network  # imports PyTorch

    return empty_network(model.network)
