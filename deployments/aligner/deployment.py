"""The aligner's Ray deployment: face crops in, face chips out."""

import time
from collections.abc import Sequence

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.aligner import AlignerConfig
from configs.catalogue import Chip
from deployments.aligner.groups import align_group
from deployments.contracts import DetectedPhoto, FaceChips, StageInfo
from deployments.images.alignment import align
from deployments.images.template import CHIP_SHAPE, TEMPLATE
from deployments.replica.deadline import Deadline
from deployments.replica.groups import Slot
from deployments.replica.logs import guard_log
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Workers


@serve.deployment(name="Aligner")
class AlignerDeployment:
    """further_chips: those that pools take beside ArcFace's."""

    def __init__(self, config: AlignerConfig, further_chips: Sequence[Chip] = ()) -> None:
        guard_log()
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

    async def align(
        self, group: Sequence[Slot[Sequence[DetectedPhoto]]]
    ) -> list[Slot[list[FaceChips]]]:
        """Align the faces of each request's photos, in order; an error stays in its slot.

        DeadlineExceeded is the value of a request whose deadline has passed.
        """
        return await self._workers.run(
            Deadline(),
            align_group,
            self._further_chips,
            group,
            time.monotonic(),
            self._metrics.done,
        )


def _align_canary() -> None:
    align(np.zeros(CHIP_SHAPE, np.uint8), TEMPLATE[None])
