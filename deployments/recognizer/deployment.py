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
from deployments.recognizer.recognizer import Recognizer, recognizer_from
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Queued
from deployments.replica.gathering import Gathering, Place
from deployments.replica.groups import Slot
from deployments.replica.logs import drop_unwritable_lines
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers

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
        self._recognizer = _load(config, name=name)
        chip = config.entry.chip
        self._chip_key = chip.key
        self._canary = np.zeros((1, chip.size, chip.size, 3), np.uint8)
        device = "cpu"
        if isinstance(self._recognizer, Recognizer):
            device = self._recognizer.backend.choice.device
        self._workers = Workers(
            config.workers,
            stuck_after_s=config.stuck_after_s,
            feeders=config.feeders_on(device),
        )
        self._most = config.batch_photos_on(device)
        self._feeder = self._workers.feeder(
            self._embed,
            max_batch_size=self._most,
            on_batch_start=partial(self._metrics.batches.started, self._stage),
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._feeder.max_batch_size = batching.max_batch_size or self._most

    async def check_health(self) -> None:
        recognizer = self._recognizer
        if isinstance(recognizer, Recognizer):
            await self._workers.check_health(lambda: recognizer.embed(self._canary))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.stats()

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

    async def embed(
        self, group: Sequence[Slot[Sequence[FaceChips]]]
    ) -> list[Slot[list[Embeddings]]]:
        """Embed the chips of each request's photos, in order; an error stays in its slot.

        ModelUnavailable is the value of every slot if the pool's weights are missing,
        DeadlineExceeded that of a request with no time left.
        """
        gathering = Gathering[Embeddings](group)
        self._feeder.submit(
            [
                self._queued(chips, gathering.place(number, index))
                for number, photos in enumerate(group)
                for index, chips in enumerate(() if isinstance(photos, FaceGraphError) else photos)
            ]
        )
        found = await gathering.outcomes()
        for outcome in found:
            for photo in () if isinstance(outcome, FaceGraphError) else outcome:
                self._metrics.done(photo.spans[-1])
                self._metrics.embedded(self._name, photo.uncertainty)
        return found

    def _queued(self, chips: FaceChips, place: Place[Embeddings]) -> Queued[ByteArray, Embeddings]:
        watch = Stopwatch(self._stage, chips.faces.field)

        def done(found: Embeddings | Exception) -> None:
            if isinstance(found, Embeddings):
                spans = (*chips.spans, watch.stop())
                found = replace(found, faces=chips.faces, spans=spans)
            place.settle(found)

        deadline = Deadline.after(chips.time_left_s)
        return Queued(chips.of(self._chip_key), deadline, done, lambda: place.is_wanted)

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
