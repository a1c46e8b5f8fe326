"""The detector's replicas: photos in, faces and decoded images out."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from ray import serve

from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from configs.model import BatchingConfig
from deployments.contracts import (
    ByteArray,
    DetectedPhoto,
    Detections,
    FoundFaces,
    Photo,
    Span,
    StageInfo,
)
from deployments.detector.detector import detector_from
from deployments.detector.postprocess import choose
from deployments.runtime.images import read_photo
from deployments.runtime.workers import Stopwatch, Workers

CANARY = np.zeros((64, 64, 3), np.uint8)


@serve.deployment(name="Detector")
class DetectorDeployment:
    def __init__(self, config: DetectorConfig, image_limits: ImageLimits) -> None:
        self._detector = detector_from(config)
        self._image_limits = image_limits
        self._workers = Workers(config.workers)
        self._detector.first_look([CANARY])

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._first_look.set_max_batch_size(batching.max_batch_size)
        self._first_look.set_batch_wait_timeout_s(batching.batch_wait_timeout_s)

    async def check_health(self) -> None:
        await self._workers.run(self._detector.first_look, [CANARY])

    def describe(self) -> StageInfo:
        backend = self._detector.backend
        return StageInfo("detector", self._detector.model.id, backend.runtime, backend.device)

    async def detect(self, photos: Sequence[Photo], *, keep_pixels: bool) -> list[DetectedPhoto]:
        """Decode a request's photos and find the faces wanted of each, all at the same time.

        `keep_pixels`: whether the decoded images are wanted by a later stage.
        Raises InvalidImage, ImageTooLarge, UnsupportedMediaType, naming the photo's field.
        """
        return await asyncio.gather(*(self._detect(photo, keep_pixels) for photo in photos))

    async def _detect(self, photo: Photo, keep_pixels: bool) -> DetectedPhoto:
        decoding = Stopwatch("decode", photo.field)
        pixels = await self._workers.run(read_photo, photo, self._image_limits)
        spans: list[Span] = [decoding.stop()]
        detecting = Stopwatch("detect", photo.field)
        detections = await self._first_look(pixels)
        if not len(detections):  # on its own, so that a batch's other photos need not wait
            detections = await self._workers.run(self._detector.look_again, pixels)
        detections = choose(detections, photo.faces)
        spans.append(detecting.stop())
        faces = FoundFaces(photo.field, pixels.shape[1], pixels.shape[0], detections)
        kept = keep_pixels and len(detections) > 0
        return DetectedPhoto(faces, pixels if kept else None, tuple(spans))

    @serve.batch(max_concurrent_batches=64)
    async def _first_look(self, images: list[ByteArray]) -> list[Detections]:
        return await self._workers.run(self._detector.first_look, images)
