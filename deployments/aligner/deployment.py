"""The aligner's replicas: faces of a photo in, 112x112 chips out."""

from collections.abc import Sequence

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.aligner import AlignerConfig
from deployments.aligner.similarity import align, align_crops
from deployments.contracts import DetectedPhoto, FaceChips, StageInfo
from deployments.runtime.metrics import StageMetrics
from deployments.runtime.workers import Stopwatch, Workers
from deployments.template import CHIP_SIZE, TEMPLATE


@serve.deployment(name="Aligner")
class AlignerDeployment:
    def __init__(self, config: AlignerConfig) -> None:
        self._workers = Workers(config.workers)
        self._metrics = StageMetrics(metrics)
        self.check_health()

    def check_health(self) -> None:
        align(np.zeros((CHIP_SIZE, CHIP_SIZE, 3), np.uint8), TEMPLATE[None])

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.busy_time.stats()

    def describe(self) -> StageInfo:
        return StageInfo("aligner", model=None, runtime="opencv", device="cpu")

    async def align(self, photos: Sequence[DetectedPhoto]) -> list[FaceChips]:
        """Chips of the faces of a request's photos, in their order."""
        return await self._workers.run(lambda: [self._chips(photo) for photo in photos])

    def _chips(self, photo: DetectedPhoto) -> FaceChips:
        watch = Stopwatch("align", photo.faces.field)
        chips = align_crops(photo.crops, photo.faces.detections.landmarks)
        return FaceChips(chips, photo.faces, (*photo.spans, self._metrics.done(watch.stop())))
