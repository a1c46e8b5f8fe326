"""RetinaFace as a family of detectors."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, FaceChoice, FloatArray
from deployments.detector.anchors import anchors_for, fine_anchor_count
from deployments.detector.postprocess import Rows, lowest_row_score, shows_large_face
from deployments.detector.preprocess import NetworkInput, resized_input
from deployments.images.decode import DecodedImage
from deployments.inference.backend import Backend, Network, SplitBackend, joined

if TYPE_CHECKING:  # ONNX files are run without importing PyTorch
    from torch import nn


class RetinaFaceFamily:
    """Decodes offsets against anchors; only images without a large face need the fine anchors."""

    landmarks = True

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self.network = Network(
            lambda checkpoint: _empty_network(),
            in_levels=True,
            max_batch=lambda device: config.max_batch_photos,
            canvases=config.canvases_on,
            on_canvases=partial(_on_canvases, config),
        )

    def first_input(self, image: DecodedImage, side: int) -> NetworkInput:
        return resized_input(image, side=side, pad_multiple=self._config.pad_multiple)

    def rows(
        self, backend: Backend, pixels: ByteArray, faces: FaceChoice, least_px: float
    ) -> list[Rows]:
        """The best rows of each image uint8 [B,h,w,3]."""
        if faces == "largest" and isinstance(backend, SplitBackend):
            return self._largest_rows(backend, pixels, least_px)
        return self._chosen(backend.run(pixels), pixels)

    def _largest_rows(
        self, backend: SplitBackend, pixels: ByteArray, least_px: float
    ) -> list[Rows]:
        """Detect with the coarse anchors; use the fine ones only for images without a large face.

        A large face is larger than any that the fine anchors find. They are not used either if the
        coarse ones show no trace of a face of `least_px`.
        """
        outputs, features = backend.begin(pixels)
        found = self._chosen(outputs, pixels, coarse=True)
        unsure = [
            row
            for row, rows in enumerate(found)
            if not shows_large_face(rows.candidates)
            and (least_px == 0 or rows.shows_trace(least_px))
        ]
        if unsure:
            fine = backend.finish([feature[unsure] for feature in features])
            both = joined(fine, [output[unsure] for output in outputs])
            for row, rows in zip(unsure, self._chosen(both, pixels), strict=True):
                found[row] = rows
        return found

    def _chosen(
        self, outputs: Sequence[FloatArray], pixels: ByteArray, *, coarse: bool = False
    ) -> list[Rows]:
        """The best rows of each image uint8 [B,h,w,3].

        coarse: the outputs are those of all anchors but the fine ones.
        """
        height, width = pixels.shape[1:3]
        first = fine_anchor_count(height, width) if coarse else 0
        anchors = anchors_for(height, width)[first:]
        loc, conf, landmarks = outputs
        return [
            Rows.chosen(
                loc[row], conf[row, :, 1], landmarks[row], anchors=anchors, config=self._config
            )
            for row in range(len(loc))
        ]


def _empty_network() -> "nn.Module":
    from deployments.detector.network import RetinaFace  # imports PyTorch

    return RetinaFace("resnet50")


def _on_canvases(config: DetectorConfig, network: "nn.Module") -> "nn.Module":
    from deployments.detector.network import RetinaFace
    from deployments.detector.rows import BestRows

    assert isinstance(network, RetinaFace)
    return BestRows(network, count=config.candidates, lowest=lowest_row_score(config))
