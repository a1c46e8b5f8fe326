"""SCRFD (Guo et al., arXiv 2105.04714) as a family of detectors, as InsightFace publishes it.

For each stride the network gives scores, distances from a cell's corner to the box's four edges,
and, in files with key points, offsets of five landmarks, all in strides. Photos are laid out as
InsightFace lays them out: shrunk or enlarged to fill a square from its upper left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from configs.catalogue import Model
from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, FaceChoice, FloatArray
from deployments.detector.postprocess import Rows, best_rows
from deployments.detector.preprocess import NetworkInput, letterboxed, letterboxed_input
from deployments.errors import InvalidWeights
from deployments.images.decode import DecodedImage
from deployments.inference.backend import Backend, Network
from deployments.inference.onnx_layout import read_layout
from deployments.weights.find import find_weights

# Strides and anchors of a cell by number of outputs per stride-free kind: three or five levels.
_LEVELS = {3: ((8, 16, 32), 2), 5: ((8, 16, 32, 64, 128), 1)}
# Numbers per anchor of each kind of output: score, box, landmarks.
_KINDS = (1, 4, 10)


@dataclass(frozen=True, slots=True)
class ScrfdLayout:
    """The sizes of an SCRFD file.

    strides: of its levels. anchors: of each cell. landmarks: it finds key points. batched: its
    outputs have an axis of images. size: height and width of every image; None for any multiple of
    the largest stride.
    """

    strides: tuple[int, ...]
    anchors: int
    landmarks: bool
    batched: bool
    size: tuple[int, int] | None

    @staticmethod
    def read(path: Path, *, where: str) -> "ScrfdLayout":
        """Raises InvalidWeights, beginning with `where`, for a file that is no SCRFD."""
        inputs, outputs = read_layout(path, where=where)
        shapes = [one.shape for one in outputs]
        found = f"{len(inputs)} inputs and {len(shapes)} outputs"
        fitting = [
            (levels, kinds)
            for levels in _LEVELS
            for kinds in (2, 3)
            if len(shapes) == levels * kinds and len(inputs) == 1
        ]
        if not fitting:
            raise InvalidWeights(
                f"{where}: SCRFD has one input and 6, 9, 10 or 15 outputs: {found}"
            )
        [(levels, kinds)] = fitting
        wanted = [size for size in _KINDS[:kinds] for _ in range(levels)]
        ranks = {len(shape) for shape in shapes}
        if ranks not in ({2}, {3}) or not all(map(_ends_in, shapes, wanted)):
            listed = ", ".join(f"{one.name} {one.shape}" for one in outputs)
            raise InvalidWeights(
                f"{where}: SCRFD's outputs end in 1, 4 and 10 numbers for each level: {listed}"
            )
        height, width = inputs[0].shape[2:] or (None, None)
        strides, anchors = _LEVELS[levels]
        size = (height, width) if height and width else None
        return ScrfdLayout(strides, anchors, kinds == 3, ranks == {3}, size)


class ScrfdFamily:
    """Decodes distances from the cells' corners."""

    def __init__(self, config: DetectorConfig, layout: ScrfdLayout) -> None:
        self._config = config
        self._layout = layout
        self.network = Network()

    @staticmethod
    def of_file(model: Model, config: DetectorConfig) -> "ScrfdFamily":
        path = find_weights(model, config.weights).path
        return ScrfdFamily(config, ScrfdLayout.read(path, where=f"{model.id}: {path}"))

    @property
    def landmarks(self) -> bool:
        return self._layout.landmarks

    def first_input(self, image: DecodedImage, side: int) -> NetworkInput:
        """A square of the configured `max_side`, as InsightFace's; without one, of the photo's."""
        square = self._config.max_side or side
        return letterboxed_input(image, *self._size((square, square)))

    def rows(
        self, backend: Backend, pixels: ByteArray, faces: FaceChoice, least_px: float
    ) -> list[Rows]:
        height, width = self._size(pixels.shape[1:3])
        laid = [letterboxed(image, height, width, enlarge=False) for image in pixels]
        inputs = np.stack([one.pixels for one in laid])
        return [
            self._decoded(outputs, height, width, _unscale(item))
            for outputs, item in zip(self._outputs(backend, inputs), laid, strict=True)
        ]

    def _size(self, wanted: Sequence[int]) -> tuple[int, int]:
        """Height and width of the network's input for an image of the wanted ones."""
        if self._layout.size:
            return self._layout.size
        step = max(self._layout.strides)
        height, width = (-(-side // step) * step for side in wanted)
        return height, width

    def _outputs(self, backend: Backend, inputs: ByteArray) -> list[list[FloatArray]]:
        """The outputs of each image: float32 [A,1], [A,4] and [A,10] of each level."""
        if self._layout.batched:
            outputs = backend.run(inputs)
            return [[output[index] for output in outputs] for index in range(len(inputs))]
        return [list(backend.run(inputs[index : index + 1])) for index in range(len(inputs))]

    def _decoded(
        self, outputs: Sequence[FloatArray], height: int, width: int, unscale: FloatArray
    ) -> Rows:
        """unscale: pixels of the image per pixel of the input, x y."""
        strides, anchors = self._layout.strides, self._layout.anchors
        count = len(strides)
        scores = np.concatenate(outputs[:count])[:, 0]
        corners, steps = cells(height, width, strides, anchors)
        rows = best_rows(scores, self._config)
        corners, steps = corners[rows], steps[rows, None]
        distances = np.concatenate(outputs[count : 2 * count])[rows] * steps
        boxes = np.concatenate([corners - distances[:, :2], corners + distances[:, 2:]], axis=1)
        points = np.full((len(rows), 5, 2), np.nan, np.float32)
        if self._layout.landmarks:
            offsets = np.concatenate(outputs[2 * count :])[rows] * steps
            points = corners[:, None] + offsets.reshape(-1, 5, 2)
        return Rows(boxes * np.tile(unscale, 2), scores[rows], points * unscale, self._config)


def _unscale(item: NetworkInput) -> FloatArray:
    return np.asarray([1 / item.scale_x, 1 / item.scale_y], np.float32)


@lru_cache(maxsize=64)
def cells(
    height: int, width: int, strides: tuple[int, ...], anchors: int
) -> tuple[FloatArray, FloatArray]:
    """Each anchor's corner, x y in pixels, float32 [A,2], and its stride [A]; read-only."""
    levels = []
    for stride in strides:
        grid = np.indices((height // stride, width // stride), np.float32)[::-1] * stride
        levels.append(grid.reshape(2, -1).T.repeat(anchors, axis=0))
    corners = np.concatenate(levels).astype(np.float32)
    steps = np.repeat(np.asarray(strides, np.float32), [len(level) for level in levels])
    for cached in (corners, steps):
        cached.setflags(write=False)
    return corners, steps


def _ends_in(shape: Sequence[int | None], size: int) -> bool:
    return shape[-1] in (None, size)
