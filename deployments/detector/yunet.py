"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), as OpenCV Zoo has it.

For each stride the network gives a class probability, an objectness, a box as the shift of its
centre and the logarithms of its sides, and shifts of five landmarks, all in strides from a cell's
corner. As OpenCV's FaceDetectorYN does, photos are filled up with black below and to the right.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.catalogue import Model
from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, FaceChoice, FloatArray
from deployments.detector.postprocess import Rows, best_rows
from deployments.detector.preprocess import NetworkInput, letterboxed, resized_input
from deployments.detector.scrfd import cells
from deployments.errors import InvalidWeights
from deployments.images.decode import DecodedImage
from deployments.inference.backend import Backend, Network
from deployments.inference.onnx_layout import read_layout
from deployments.weights.find import find_weights

_STRIDES = (8, 16, 32)
# The outputs of a stride, and the numbers of each for a cell.
_KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_NAMES = [f"{kind}_{stride}" for kind in _KINDS for stride in _STRIDES]


def read_size(path: Path, *, where: str) -> tuple[int, int] | None:
    """Height and width of the images that a YuNet file takes; None for any multiples of 32.

    Raises InvalidWeights, beginning with `where`, for a file that is no YuNet.
    """
    inputs, outputs = read_layout(path, where=where)
    found = [one.name for one in outputs]
    if len(inputs) != 1 or found != _NAMES:
        raise InvalidWeights(
            f"{where}: YuNet has one input and the outputs {', '.join(_NAMES)}: it has"
            f" {len(inputs)} and {', '.join(found)}"
        )
    height, width = inputs[0].shape[2:] or (None, None)
    return (height, width) if height and width else None


class YunetFamily:
    """Decodes boxes and landmarks from the cells' corners. size: that of `read_size`."""

    landmarks = True

    def __init__(self, config: DetectorConfig, size: tuple[int, int] | None) -> None:
        self._config = config
        self._size = size
        self.network = Network()

    @staticmethod
    def of_file(model: Model, config: DetectorConfig) -> "YunetFamily":
        path = find_weights(model, config.weights).path
        return YunetFamily(config, read_size(path, where=f"{model.id}: {path}"))

    def first_input(self, image: DecodedImage, side: int) -> NetworkInput:
        return resized_input(image, side=side, pad_multiple=1)

    def rows(
        self, backend: Backend, pixels: ByteArray, faces: FaceChoice, least_px: float
    ) -> list[Rows]:
        step = _STRIDES[-1]
        height, width = self._size or (-(-side // step) * step for side in pixels.shape[1:3])
        laid = [letterboxed(image, height, width, enlarge=False) for image in pixels]
        # The published files take one image at a time.
        return [self._decoded(backend.run(item.pixels[None]), item) for item in laid]

    def _decoded(self, outputs: Sequence[FloatArray], item: NetworkInput) -> Rows:
        height, width = item.pixels.shape[:2]
        levels = len(_STRIDES)
        classes, objects, boxes, points = (
            np.concatenate([output[0] for output in outputs[start : start + levels]])
            for start in range(0, levels * len(_KINDS), levels)
        )
        scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))[:, 0]
        corners, steps = cells(height, width, _STRIDES, 1)
        rows = best_rows(scores, self._config)
        corners, steps = corners[rows], steps[rows, None]
        centres = corners + boxes[rows, :2] * steps
        halves = np.exp(boxes[rows, 2:]) * steps / 2
        found = np.concatenate([centres - halves, centres + halves], axis=1)
        shifts = points[rows].reshape(-1, 5, 2) * steps[:, None]
        unscale = np.asarray([1 / item.scale_x, 1 / item.scale_y], np.float32)
        landmarks: FloatArray = (corners[:, None] + shifts) * unscale
        return Rows(found * np.tile(unscale, 2), scores[rows], landmarks, self._config)
