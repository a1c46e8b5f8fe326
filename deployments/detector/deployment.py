"""The detector's Ray deployment: photos in, faces and their crops out."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.catalogue import Chip
from configs.detector import DetectorConfig
from configs.limits import MEBI, ImageLimits
from configs.model import BatchingConfig
from deployments.contracts import DetectedPhoto, FaceChips, Photo, StageInfo
from deployments.detector.detector import DetectionRequest, detector_from
from deployments.detector.photos import PhotoSearch
from deployments.errors import FaceGraphError
from deployments.images.decode import DecodedImage
from deployments.replica.deadline import Deadline
from deployments.replica.groups import Slot, joined
from deployments.replica.logs import guard_log
from deployments.replica.memory import GarbageCollection, return_blocks
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Workers

logger = logging.getLogger("ray.serve")

# Large photos return to the system at once; what the network takes and gives for small ones stays.
_RETURNED_FROM_BYTES = 8 * MEBI
_COLLECTED_EVERY_BYTES = 64 * MEBI
CANARY = DetectionRequest(DecodedImage.whole(np.zeros((64, 64, 3), np.uint8)), "all")


@serve.deployment(name="Detector")
class DetectorDeployment:
    """further_chips: those that pools take beside ArcFace's, for which the crops have room.

    align: align_group of the aligner with its chips, of a graph with `calls.in_process_stages`.
    """

    def __init__(
        self,
        config: DetectorConfig,
        image_limits: ImageLimits,
        further_chips: Sequence[Chip] = (),
        align: Callable[..., list[Slot[list[FaceChips]]]] | None = None,
    ) -> None:
        guard_log()
        return_blocks(from_bytes=_RETURNED_FROM_BYTES)
        self._detector = detector_from(config)
        self._detector.require_landmarks()
        self._garbage = GarbageCollection(_COLLECTED_EVERY_BYTES)
        device = self._detector.backend.choice.device
        self._workers = Workers(
            config.workers,
            stuck_after_s=config.stuck_after_s,
            feeders=config.feeders_on(device),
        )
        self._align = align
        self._most = config.batch_photos_on(device)
        self._metrics = StageMetrics(metrics)
        self._photos = PhotoSearch(
            self._detector,
            self._workers,
            image_limits,
            max_batch_size=self._most,
            on_batch_start=partial(self._metrics.batches.started, "detect"),
            further_chips=further_chips,
        )
        self._detector.detect_first_pass([CANARY])

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._photos.feeder.max_batch_size = batching.max_batch_size or self._most

    async def check_health(self) -> None:
        await self._workers.check_health(lambda: self._detector.detect_first_pass([CANARY]))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.stats()

    def describe(self) -> StageInfo:
        model, choice = self._detector.model.id, self._detector.backend.choice
        return StageInfo(
            "detector", model, choice.runtime, choice.device, choice.precision, choice.reason
        )

    async def detect(self, *parts: Any, crops: bool) -> list[Slot[list[DetectedPhoto]]]:
        """Decode each request's photos and detect their faces, all photos at the same time.

        parts: the requests, each a sequence of Photo, in the parts of `in_parts` or as one object.
        crops: cut the faces' crops, for the stages after this one.
        A request's error is its slot's value, and its other photos are cancelled: InvalidImage,
        ImageTooLarge or UnsupportedMediaType, naming the photo's field, or DeadlineExceeded.
        """
        requests: Sequence[Sequence[Photo]] = joined(parts)
        deadlines = [_deadline(photos) for photos in requests]
        try:
            found = await self._photos.search(requests, deadlines, crops=crops)
        finally:
            self._garbage.released(sum(photo.nbytes for photos in requests for photo in photos))
        self._metrics.detected([one for one in found if not isinstance(one, FaceGraphError)])
        for outcome in found:
            if isinstance(outcome, FaceGraphError):
                logger.info("refused: %s", outcome.message)
        return found

    async def detect_aligned(self, *parts: Any) -> list[Slot[list[FaceChips]]]:
        """Detect faces as `detect` does, and align their crops as the aligner's `align` does."""
        assert self._align is not None
        found = await self.detect(*parts, crops=True)
        now, done = time.monotonic(), self._metrics.done
        return await self._workers.run(Deadline(), self._align, found, now, done)


def _deadline(photos: Sequence[Photo]) -> Deadline:
    """The earliest deadline of a request's photos."""
    left = [photo.time_left_s for photo in photos if photo.time_left_s is not None]
    return Deadline.after(min(left, default=None))
