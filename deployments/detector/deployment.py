"""The detector's Ray deployment: photos in, faces and their crops out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.detector import DetectorConfig
from configs.limits import MEBI, ImageLimits
from configs.model import BatchingConfig
from deployments.contracts import (
    DetectedPhoto,
    Detections,
    FaceChoice,
    FaceCrop,
    FloatArray,
    FoundFaces,
    Photo,
    Span,
    StageInfo,
)
from deployments.detector.crops import cut_crops, max_reduction
from deployments.detector.detector import DetectionRequest, FirstPass, detector_from
from deployments.detector.postprocess import choose, count_alike
from deployments.errors import FaceGraphError, FaceNotFound
from deployments.images.alignment import align_crops
from deployments.images.decode import DecodedImage, read_image
from deployments.images.quality import sharpness
from deployments.replica.batches import gather_or_cancel, gather_outcomes
from deployments.replica.budget import Budget
from deployments.replica.deadline import Deadline
from deployments.replica.logs import drop_unwritable_lines
from deployments.replica.memory import GarbageCollection, return_blocks
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers

# Large photos return to the system at once; what the network takes and gives for small ones stays.
_RETURNED_FROM_BYTES = 8 * MEBI
_COLLECTED_EVERY_BYTES = 64 * MEBI
CANARY = DetectionRequest(DecodedImage.whole(np.zeros((64, 64, 3), np.uint8)), "all")


@serve.deployment(name="Detector")
class DetectorDeployment:
    def __init__(self, config: DetectorConfig, image_limits: ImageLimits) -> None:
        drop_unwritable_lines()
        return_blocks(from_bytes=_RETURNED_FROM_BYTES)
        self._detector = detector_from(config)
        self._like_size = config.like_size
        self._garbage = GarbageCollection(_COLLECTED_EVERY_BYTES)
        self._read = partial(read_image, limits=image_limits)
        self._max_pixels = image_limits.max_pixels
        self._pixels = Budget(image_limits.max_pixels_in_flight)
        self._workers = Workers(config.workers, stuck_after_s=config.stuck_after_s)
        self._metrics = StageMetrics(metrics)
        self._batcher = self._workers.batcher(
            self._detector.detect_first_pass,
            max_batch_size=BatchingConfig().max_batch_size,
            on_batch_start=partial(self._metrics.batches.started, "detect"),
        )
        self._detector.detect_first_pass([CANARY])

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._batcher.max_batch_size = BatchingConfig.model_validate(user_config).max_batch_size

    async def check_health(self) -> None:
        await self._workers.check_health(lambda: self._detector.detect_first_pass([CANARY]))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.busy_time.stats()

    def describe(self) -> StageInfo:
        model, choice = self._detector.model.id, self._detector.backend.choice
        return StageInfo(
            "detector", model, choice.runtime, choice.device, choice.precision, choice.reason
        )

    async def detect(self, photos: Sequence[Photo], *, crops: bool) -> list[DetectedPhoto]:
        """Decode a request's photos and detect their faces, all photos at the same time.

        crops: cut the faces' crops, for the stages after this one.
        Raises InvalidImage, ImageTooLarge or UnsupportedMediaType, naming the photo's field, and
        DeadlineExceeded if no time is left; the other photos are then cancelled.
        """
        return await gather_or_cancel([self._detect(photo, crops) for photo in photos])

    async def detect_many(
        self, requests: Sequence[Sequence[Photo]], *, crops: bool
    ) -> list[list[DetectedPhoto] | FaceGraphError]:
        """`detect` for each request; an error is the value of its request's slot."""
        return await gather_outcomes([self.detect(photos, crops=crops) for photos in requests])

    async def _detect(self, photo: Photo, crops: bool) -> DetectedPhoto:
        try:
            return await self._decode_and_find(photo, crops)
        finally:
            self._garbage.released(photo.nbytes)

    async def _decode_and_find(self, photo: Photo, crops: bool) -> DetectedPhoto:
        deadline = Deadline.after(photo.time_left_s)
        decoding = Stopwatch("decode", photo.field)
        # Its size is unknown until a thread has opened it: the largest is reserved until then.
        async with self._pixels.reserved(self._max_pixels) as reserved:
            image = await self._workers.run(
                deadline, self._read, photo, needed_side=self._detector.first_pass_side
            )
            # The whole photo's pixels: the second pass and the crops may need it at full size.
            reserved.shrink_to(image.width * image.height)
            decode_span = self._metrics.done(decoding.stop())
            return await self._find(photo, image, crops, decode_span, deadline)

    async def _find(
        self, photo: Photo, image: DecodedImage, crops: bool, decode_span: Span, deadline: Deadline
    ) -> DetectedPhoto:
        detecting = Stopwatch("detect", photo.field)
        wanted: FaceChoice = "largest" if photo.faces == "largest" else "all"
        request = DetectionRequest(image, wanted)
        first = await self._batcher.submit(request, deadline)
        detections = first.faces
        if not first.final:  # on its own, so that the batch's other photos need not wait
            detections = await self._workers.run(deadline, self._further, photo, request, first)
        alike = count_alike(detections, self._like_size) if wanted == "largest" else 1
        detections = _chosen(detections, photo)
        image.require_shown(detections.boxes, field=photo.field)
        self._metrics.searched(faces=len(detections))
        cut: tuple[FaceCrop, ...] = ()
        measured = np.zeros(0, np.float32)
        if len(detections):
            cut, measured = await self._workers.run(
                deadline, self._measured_crops, photo, image, detections
            )
        truncated = image.missing is not None
        faces = FoundFaces(
            photo.field,
            image.width,
            image.height,
            detections,
            truncated,
            alike=alike,
            searched_down_to_px=self._detector.searched_down_to_px(request),
            sharpness=measured,
        )
        spans = (decode_span, self._metrics.done(detecting.stop()))
        return DetectedPhoto(faces, cut if crops else (), spans, deadline.left_s)

    def _further(self, photo: Photo, request: DetectionRequest, first: FirstPass) -> Detections:
        side = self._detector.further_side(request.image)
        request = replace(request, image=self._finer(photo, request.image, side))
        return self._detector.detect_further(
            request, first, max_batch_size=self._batcher.max_batch_size
        )

    def _measured_crops(
        self, photo: Photo, image: DecodedImage, detections: Detections
    ) -> tuple[tuple[FaceCrop, ...], FloatArray]:
        """The faces' crops, and the sharpness float32 [N] of their chips."""
        side = image.longer_side // max_reduction(detections.landmarks)
        crops = cut_crops(self._finer(photo, image, side), detections.landmarks)
        return crops, sharpness(align_crops(crops, detections.landmarks))

    def _finer(self, photo: Photo, image: DecodedImage, side: int) -> DecodedImage:
        """The image if its longer side has at least `side` pixels, else the whole photo."""
        if image.reduction == 1 or max(image.pixels.shape) >= side:
            return image
        return self._read(photo, needed_side=lambda longer: longer)


def _chosen(detections: Detections, photo: Photo) -> Detections:
    """The faces that the request asks for. Raises FaceNotFound for an index that is too high."""
    try:
        return choose(detections, photo.faces)
    except IndexError:
        found = f"{len(detections)} found, numbered from 0 by falling score"
        raise FaceNotFound(
            f"{photo.field}: no face {photo.faces} ({found})", field=photo.field
        ) from None
