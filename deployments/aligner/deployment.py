"""The aligner's Ray deployment: face crops in, face chips out."""

from collections.abc import Sequence

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.aligner import AlignerConfig
from configs.catalogue import Chip
from deployments.contracts import DetectedPhoto, FaceChips, StageInfo
from deployments.images.alignment import align, align_crops
from deployments.images.template import CHIP_SHAPE, TEMPLATE
from deployments.replica.deadline import Deadline
from deployments.replica.logs import drop_unwritable_lines
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers


@serve.deployment(name="Aligner")
class AlignerDeployment:
    """further_chips: those that pools take beside ArcFace's."""

    def __init__(self, config: AlignerConfig, further_chips: Sequence[Chip] = ()) -> None:
        drop_unwritable_lines()
        self._further_chips = further_chips
        self._workers = Workers(config.workers, stuck_after_s=config.stuck_after_s)
        self._metrics = StageMetrics(metrics)
        _align_canary()

    async def check_health(self) -> None:
        await self._workers.check_health(_align_canary)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.stats()

    def describe(self) -> StageInfo:
        return StageInfo("aligner", model=None, runtime="opencv", device="cpu")

    async def align(self, photos: Sequence[DetectedPhoto]) -> list[FaceChips]:
        """Align the faces of photos, in order; the photos may belong to several requests.

        Raises DeadlineExceeded once the deadlines of all photos have passed.
        """
        deadlines = [Deadline.after(photo.time_left_s) for photo in photos]
        latest = max(deadlines, key=lambda deadline: deadline.at, default=Deadline())

        def chips() -> list[FaceChips]:
            return [self._chips(*pair) for pair in zip(photos, deadlines, strict=True)]

        return await self._workers.run(latest, chips)

    def _chips(self, photo: DetectedPhoto, deadline: Deadline) -> FaceChips:
        watch = Stopwatch("align", photo.faces.field)
        landmarks = photo.faces.detections.landmarks
        chips = align_crops(photo.crops, landmarks)
        further = {
            chip.key: align_crops(photo.crops, landmarks, chip) for chip in self._further_chips
        }
        spans = (*photo.spans, self._metrics.done(watch.stop()))
        return FaceChips(chips, photo.faces, spans, deadline.left_s, further)


def _align_canary() -> None:
    align(np.zeros(CHIP_SHAPE, np.uint8), TEMPLATE[None])
