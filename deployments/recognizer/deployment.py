"""A recognizer pool's Ray deployment: chips in, embeddings out."""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.model import BatchingConfig
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Embeddings, FaceChips, StageInfo
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.images.template import CHIP_SHAPE
from deployments.recognizer.recognizer import Recognizer, recognizer_from
from deployments.replica.batches import gather_or_cancel, gather_outcomes
from deployments.replica.deadline import Deadline
from deployments.replica.logs import drop_unwritable_lines
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers

CANARY = np.zeros((1, *CHIP_SHAPE), np.uint8)
logger = logging.getLogger("ray.serve")


@serve.deployment(name="Recognizer")
class RecognizerDeployment:
    """A pool of one recognizer. Every pool is this class, bound under the pool's name.

    A replica without weights stays up and answers every call with ModelUnavailable. If its
    constructor failed, Serve would mark the whole application as failed, other pools included.
    """

    def __init__(self, name: str, config: RecognizerConfig) -> None:
        drop_unwritable_lines()
        self._name = name
        self._stage = f"recognize:{name}"
        self._metrics = StageMetrics(metrics)
        self._workers = Workers(config.workers, stuck_after_s=config.stuck_after_s)
        self._recognizer = _load(config, name=name)
        self._batcher = self._workers.batcher(
            self._embed,
            max_batch_size=BatchingConfig().max_batch_size,
            on_batch_start=partial(self._metrics.batches.started, self._stage),
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._batcher.max_batch_size = BatchingConfig.model_validate(user_config).max_batch_size

    async def check_health(self) -> None:
        recognizer = self._recognizer
        if isinstance(recognizer, Recognizer):
            await self._workers.check_health(lambda: recognizer.embed(CANARY))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.busy_time.stats()

    def describe(self) -> StageInfo:
        stage = f"recognizer:{self._name}"
        if isinstance(self._recognizer, ModelUnavailable):
            return StageInfo(stage, None, None, None, unavailable=self._recognizer.message)
        model, choice = self._recognizer.model.id, self._recognizer.backend.choice
        return StageInfo(
            stage,
            model,
            choice.runtime,
            choice.device,
            choice.precision,
            choice.reason,
            version=self._recognizer.version,
        )

    async def embed(self, photos: Sequence[FaceChips]) -> list[Embeddings]:
        """Embed the chips of a request's photos, in order.

        Raises ModelUnavailable if the pool's weights are missing, DeadlineExceeded if no time is
        left.
        """
        return await gather_or_cancel([self._embed_photo(chips) for chips in photos])

    async def embed_many(
        self, requests: Sequence[Sequence[FaceChips]]
    ) -> list[list[Embeddings] | FaceGraphError]:
        """`embed` for each request; an error is the value of its request's slot."""
        return await gather_outcomes([self.embed(photos) for photos in requests])

    async def _embed_photo(self, chips: FaceChips) -> Embeddings:
        watch = Stopwatch(self._stage, chips.faces.field)
        found = await self._batcher.submit(chips.pixels, Deadline.after(chips.time_left_s))
        self._metrics.embedded(self._name, found.uncertainty)
        span = self._metrics.done(watch.stop())
        return replace(found, faces=chips.faces, spans=(*chips.spans, span))

    def _embed(self, requests: Sequence[ByteArray]) -> list[Embeddings]:
        if isinstance(self._recognizer, ModelUnavailable):
            # A copy, as the traceback of one object would keep the frames of all callers.
            raise copy(self._recognizer)
        return self._recognizer.embed_many(requests)


def _load(config: RecognizerConfig, *, name: str) -> Recognizer | ModelUnavailable:
    try:
        return recognizer_from(config, name=name)
    except ModelUnavailable as error:
        logger.error("recognizer pool %s: %s", name, error.message)
        return error
