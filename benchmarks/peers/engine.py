"""The computation of every peer: from a photo to the embedding of its largest face."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector.anchors import anchors_for, decode_boxes, decode_landmarks
from deployments.detector.coarse import CoarseLooks, is_worthwhile, largest_face
from deployments.detector.postprocess import Rows, non_maximum_suppression
from deployments.detector.preprocess import NetworkInput
from deployments.images.alignment import align
from deployments.images.decode import DecodedImage

# uint8 [H,W,3] BGR -> the network's outputs for this image, float32.
Network = Callable[[ByteArray], Sequence[FloatArray]]


class Engine(ABC):
    """Called from several threads at once."""

    @abstractmethod
    def embed(self, photo: ByteArray) -> FloatArray | None:
        """The embedding float32 [512], L2 norm 1, of the largest face of a photo uint8 [H,W,3] BGR;
        None without a face."""


class RetinaFaceEngine(Engine):
    """RetinaFace and a recognizer, photo by photo, with the graph's own arithmetic in between."""

    def __init__(
        self,
        *,
        detector: Network,
        recognizer: Network,
        config: DetectorConfig,
        coarse_to_fine: bool = False,
    ) -> None:
        self._detector = detector
        self._recognizer = recognizer
        self._config = config
        self._coarse_side = config.coarse_side if coarse_to_fine else None

    def embed(self, photo: ByteArray) -> FloatArray | None:
        small = shrunk(photo, self._config.max_side)
        landmarks = self._coarse_to_fine(photo, small)
        if landmarks is None:
            landmarks = self._largest_face(small)
            if landmarks is None:
                return None
            landmarks = landmarks * np.float32(photo.shape[1] / small.shape[1])
        (vector,) = self._recognizer(align(photo, landmarks[None])[0])
        unit: FloatArray = vector / np.linalg.norm(vector)
        return unit

    def _coarse_to_fine(self, photo: ByteArray, small: ByteArray) -> FloatArray | None:
        """The largest face's landmarks float32 [5,2], in pixels of the photo; None if not sure.

        small: the photo as it is looked at otherwise.
        """
        side = self._coarse_side
        if side is None or not is_worthwhile(max(small.shape[:2]), side):
            return None
        scale = small.shape[1] / photo.shape[1]
        whole = NetworkInput(small, scale, scale)
        looks = largest_face(DecodedImage.whole(photo), whole, side, self._config)
        step: NetworkInput | Detections | None = next(looks)
        while isinstance(step, NetworkInput):
            step = _proceed(looks, self._rows(step.pixels))
        return None if step is None else step.landmarks[0]

    def _rows(self, pixels: ByteArray) -> Rows:
        loc, conf, landmarks = self._detector(pixels)
        anchors = anchors_for(*pixels.shape[:2])
        return Rows.chosen(loc, conf[:, 1], landmarks, anchors=anchors, config=self._config)

    def _largest_face(self, photo: ByteArray) -> FloatArray | None:
        """Its landmarks float32 [5,2]; None without a face."""
        loc, conf, landmarks = self._detector(photo)
        scores = conf[:, 1]
        rows = np.flatnonzero(scores > self._config.score_threshold)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        anchors = anchors_for(photo.shape[0], photo.shape[1])[rows]
        boxes = decode_boxes(loc[rows], anchors)
        groups = non_maximum_suppression(boxes, self._config.nms_iou)
        if not groups:
            return None
        kept = np.asarray([group[0] for group in groups])
        x1, y1, x2, y2 = boxes[kept].T
        largest = kept[np.argmax((x2 - x1) * (y2 - y1))]
        points: FloatArray = decode_landmarks(landmarks[rows[[largest]]], anchors[[largest]])[0]
        return points


def _proceed(looks: CoarseLooks, rows: Rows) -> NetworkInput | Detections | None:
    try:
        return looks.send(rows)
    except StopIteration as last:
        face: Detections | None = last.value
        return face


def shrunk(photo: ByteArray, longer_side: int | None) -> ByteArray:
    """A photo whose longer side is `longer_side` at most."""
    scale = longer_side / max(photo.shape[:2]) if longer_side else 1.0
    if scale >= 1:
        return photo
    return cv2.resize(photo, None, fx=scale, fy=scale).astype(np.uint8, copy=False)
