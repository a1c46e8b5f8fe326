"""The aligner's replicas: faces of a photo in, 112x112 chips out."""

import asyncio
from collections.abc import Sequence

import numpy as np
from ray import serve

from configs.aligner import AlignerConfig
from deployments.aligner.similarity import CHIP_SIZE, TEMPLATE, align
from deployments.contracts import ByteArray, DetectedPhoto, FaceChips, StageInfo
from deployments.runtime.workers import Stopwatch, Workers


@serve.deployment(name="Aligner")
class AlignerDeployment:
    def __init__(self, config: AlignerConfig) -> None:
        self._workers = Workers(config.workers)
        self.check_health()

    def check_health(self) -> None:
        align(np.zeros((CHIP_SIZE, CHIP_SIZE, 3), np.uint8), TEMPLATE[None])

    def describe(self) -> StageInfo:
        return StageInfo("aligner", model=None, runtime="opencv", device="cpu")

    async def align(self, photos: Sequence[DetectedPhoto]) -> list[FaceChips]:
        """Chips of the faces of a request's photos, in their order."""
        return await asyncio.gather(*(self._align(photo) for photo in photos))

    async def _align(self, photo: DetectedPhoto) -> FaceChips:
        watch = Stopwatch("align", photo.field)
        chips = await self._workers.run(align, await _pixels(photo), photo.detections.landmarks)
        return FaceChips(chips, photo.field, (*photo.spans, watch.stop()))


async def _pixels(photo: DetectedPhoto) -> ByteArray:
    if photo.pixels is None:  # no face, no chip: any image serves
        return np.zeros((1, 1, 3), np.uint8)
    return await photo.pixels
