"""Face detection on one machine, without Ray."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.catalogue import Model, find_model
from configs.detector import DetectorConfig
from configs.model import Runtime
from deployments.contracts import ByteArray, Detections, FaceChoice, FloatArray
from deployments.detector.anchors import anchors_for, fine_anchor_count
from deployments.detector.postprocess import drop_small, faces_from_rows, shows_large_face
from deployments.detector.preprocess import (
    NetworkInput,
    first_pass_side,
    framed_input,
    resized_input,
)
from deployments.images.decode import DecodedImage
from deployments.images.pixels import require_bgr
from deployments.inference.backend import Backend, Network, SplitBackend, joined
from deployments.inference.load import load_backend

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn


@dataclass(frozen=True, slots=True)
class DetectionRequest:
    """An image to detect faces in; `faces`: all of them, or only the largest."""

    image: DecodedImage
    faces: FaceChoice


class Detector:
    """RetinaFace behind an inference backend. Safe to call from several threads."""

    def __init__(self, config: DetectorConfig, *, model: Model, backend: Backend) -> None:
        self.config = config
        self.model = model
        self.backend = backend

    def detect(self, image: ByteArray) -> Detections:
        """Every face of an image uint8 [H,W,3] BGR, in pixels of that image, best first.

        Raises InvalidImage for an array of another shape or dtype.
        """
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[ByteArray]) -> list[Detections]:
        """`detect` for each image, in order.

        Runs `detect_first_pass` on all of them, then `detect_second_pass` on those in which no
        face was found.
        """
        decoded = [DecodedImage.whole(require_bgr(image)) for image in images]
        found = self.detect_first_pass([DetectionRequest(image, "all") for image in decoded])
        return [
            faces if len(faces) else self.detect_second_pass(image)
            for image, faces in zip(decoded, found, strict=True)
        ]

    def detect_first_pass(self, requests: Sequence[DetectionRequest]) -> list[Detections]:
        """One Detections per request, in order.

        Images with the same input shape and the same choice of faces run as one batch. If only the
        largest face is wanted, smaller ones may be missing from the result.
        """
        inputs = [self._first_input(request.image) for request in requests]
        found: list[Detections] = [Detections.none()] * len(inputs)

        def kind(index: int) -> tuple[tuple[int, ...], FaceChoice]:
            return inputs[index].pixels.shape, requests[index].faces

        for (_, faces), group in groupby(sorted(range(len(inputs)), key=kind), key=kind):
            indices = list(group)
            batch = [inputs[index] for index in indices]
            for index, detections in zip(indices, self._detect_batch(batch, faces), strict=True):
                found[index] = detections
        return found

    def detect_second_pass(self, image: DecodedImage) -> Detections:
        """Faces found by the configured `second_pass`, tried until one finds a face.

        Takes one image at a time: batch sizes are meant for the first pass's input size, and an
        enlarged photo takes several times its memory.
        """
        for item in self._second_inputs(image):
            [found] = self._detect_batch([item])
            if len(found):
                return found
        return Detections.none()

    def first_pass_side(self, longer: int) -> int:
        """Longer side of the first pass's input, for a photo whose longer side is `longer`."""
        config = self.config
        return first_pass_side(longer, max_side=config.max_side, shrink_above=config.shrink_above)

    def second_pass_side(self, longer: int) -> int:
        """Longer side from which a photo has all the pixels that the second pass may use."""
        return min(longer, max(self.config.enlarged_side, self.first_pass_side(longer)))

    def _first_input(self, image: DecodedImage) -> NetworkInput:
        side = self.first_pass_side(image.longer_side)
        return resized_input(image, side=side, pad_multiple=self.config.pad_multiple)

    def _second_inputs(self, image: DecodedImage) -> Iterator[NetworkInput]:
        config = self.config
        if config.second_pass in ("pad", "both"):
            yield framed_input(image, pad_multiple=config.pad_multiple)
        side = min(config.enlarged_side, 2 * image.longer_side)
        # A size that the first pass has covered shows nothing new.
        larger = side > self.first_pass_side(image.longer_side)
        if config.second_pass in ("enlarge", "both") and larger:
            yield resized_input(image, side=side, pad_multiple=config.pad_multiple)

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
        """Detect with the coarse anchors; use the fine ones only for images without a large face.

        A large face is larger than any that the fine anchors find.
        """
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
        """Faces of each image, in pixels of the network's input.

        pixels: uint8 [B,h,w,3]. coarse: the outputs are those of all anchors but the fine ones.
        """
        height, width = pixels.shape[1:3]
        first = fine_anchor_count(height, width) if coarse else 0
        anchors = anchors_for(height, width)[first:]
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
    """Load a detector of the catalogue; `detector_from(DetectorConfig(...))` takes all settings.

    weights: folder with the published files; by default, the catalogue's sources are searched.
    max_side: longer side, in pixels, that larger images are shrunk to; None keeps their size.
    Raises ModelUnavailable if the weights are missing, InvalidWeights if they do not fit.
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
    from deployments.detector.network import RetinaFace  # imports PyTorch

    assert model.network == "retinaface-resnet50", "an ONNX file holds its network"
    return RetinaFace("resnet50")
