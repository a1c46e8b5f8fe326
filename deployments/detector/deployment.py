"""The detector's replicas: photos in, faces and their crops out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from configs.model import BatchingConfig
from deployments.contracts import (
    DetectedPhoto,
    Detections,
    FaceCrop,
    FoundFaces,
    Photo,
    Span,
    StageInfo,
)
from deployments.detector.crops import cut_crops, needed_reduction
from deployments.detector.detector import DetectionRequest, detector_from
from deployments.detector.postprocess import choose
from deployments.errors import FaceGraphError
from deployments.images.decode import DecodedImage, read_image
from deployments.images.pixel_budget import PixelBudget
from deployments.replica.batches import gather_or_cancel, gather_outcomes
from deployments.replica.deadline import Deadline
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers

CANARY = DetectionRequest(DecodedImage.whole(np.zeros((64, 64, 3), np.uint8)), "all")


@serve.deployment(name="Detector")
class DetectorDeployment:
    def __init__(self, config: DetectorConfig, image_limits: ImageLimits) -> None:
        self._detector = detector_from(config)
        self._read = partial(read_image, limits=image_limits)
        self._pixels = PixelBudget(image_limits)
        self._workers = Workers(config.workers, stuck_after_s=config.stuck_after_s)
        self._metrics = StageMetrics(metrics)
        self._looks = self._workers.batcher(
            self._detector.detect_first_pass,
            max_batch_size=BatchingConfig().max_batch_size,
            on_batch_start=partial(self._metrics.batches.started, "detect"),
        )
        self._detector.detect_first_pass([CANARY])

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._looks.max_batch_size = BatchingConfig.model_validate(user_config).max_batch_size

    async def check_health(self) -> None:
        await self._workers.check_health(lambda: self._detector.detect_first_pass([CANARY]))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.busy_time.stats()

    def describe(self) -> StageInfo:
        backend = self._detector.backend
        return StageInfo("detector", self._detector.model.id, backend.runtime, backend.device)

    async def detect(self, photos: Sequence[Photo], *, crops: bool) -> list[DetectedPhoto]:
        """Decode a request's photos and find the faces wanted of each, all at the same time.

        `crops`: whether a later stage wants to see the faces.
        Raises InvalidImage, ImageTooLarge, UnsupportedMediaType, naming the photo's field, and
        DeadlineExceeded where no time is left; the other photos are then given up.
        """
        return await gather_or_cancel([self._detect(photo, crops) for photo in photos])

    async def detect_many(
        self, requests: Sequence[Sequence[Photo]], *, crops: bool
    ) -> list[list[DetectedPhoto] | FaceGraphError]:
        """`detect` of each request's photos; what it would raise is that request's answer."""
        return await gather_outcomes([self.detect(photos, crops=crops) for photos in requests])

    async def _detect(self, photo: Photo, crops: bool) -> DetectedPhoto:
        deadline = Deadline.after(photo.time_left_s)
        decoding = Stopwatch("decode", photo.field)
        async with self._pixels.reserved() as reserved:
            picture = await self._workers.run(
                deadline, self._read, photo, needed_side=self._detector.first_look_side
            )
            # The whole photo's, though it may be halved: its crops may need it decoded whole.
            reserved.keep(picture.width * picture.height)
            decoded = self._metrics.done(decoding.stop())
            return await self._find(photo, picture, crops, decoded, deadline)

    async def _find(
        self, photo: Photo, picture: DecodedImage, crops: bool, decoded: Span, deadline: Deadline
    ) -> DetectedPhoto:
        detecting = Stopwatch("detect", photo.field)
        detections = await self._looks.submit(DetectionRequest(picture, photo.faces), deadline)
        if not len(detections):  # on its own, so that a batch's other photos need not wait
            detections = await self._workers.run(deadline, self._look_again, photo, picture)
        detections = choose(detections, photo.faces)
        self._metrics.searched(faces=len(detections))
        cut: tuple[FaceCrop, ...] = ()
        if crops and len(detections):
            cut = await self._workers.run(deadline, self._crops, photo, picture, detections)
        faces = FoundFaces(photo.field, picture.width, picture.height, detections)
        spans = (decoded, self._metrics.done(detecting.stop()))
        return DetectedPhoto(faces, cut, spans, deadline.left_s)

    def _look_again(self, photo: Photo, picture: DecodedImage) -> Detections:
        side = self._detector.second_look_side(max(picture.width, picture.height))
        return self._detector.detect_second_pass(self._finer(photo, picture, side))

    def _crops(
        self, photo: Photo, picture: DecodedImage, detections: Detections
    ) -> tuple[FaceCrop, ...]:
        longer = max(picture.width, picture.height)
        side = longer // needed_reduction(detections.landmarks)
        return cut_crops(self._finer(photo, picture, side), detections.landmarks)

    def _finer(self, photo: Photo, picture: DecodedImage, side: int) -> DecodedImage:
        """The picture, if its longer side has what is needed; else the photo decoded whole."""
        if picture.reduction == 1 or max(picture.pixels.shape) >= side:
            return picture
        return self._read(photo, needed_side=lambda longer: longer)
