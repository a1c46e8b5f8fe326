"""What the replicas of recognizer and classifier pools share: chips in, answers out."""

import logging
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from configs.catalogue import Model
from configs.model import BatchingConfig, ChipModelConfig
from deployments.contracts import ByteArray, Classes, Embeddings, StageInfo
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.inference.backend import Backend
from deployments.replica.feeder import Queued
from deployments.replica.gathering import Gathering, Place
from deployments.replica.groups import Slot
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Workers

logger = logging.getLogger("ray.serve")


class LoadedModel(Protocol):
    """A model behind its inference backend, as a pool's replica loads it."""

    model: Model
    backend: Backend


Loaded = TypeVar("Loaded", bound=LoadedModel)
Photo = TypeVar("Photo")  # what the stage before gives of a photo
Found = TypeVar("Found")  # what the model gives of its chips
Answer = TypeVar("Answer", Embeddings, Classes)


class PoolReplica(Generic[Loaded, Photo, Found, Answer]):
    """A replica of a pool of one model.

    Without weights it stays up and answers every call with ModelUnavailable. If its constructor
    failed, Serve would mark the whole application as failed, other pools included.
    """

    def __init__(
        self,
        config: ChipModelConfig,
        loaded: Loaded | ModelUnavailable,
        run: Callable[[Loaded, Sequence[ByteArray]], Sequence[Found]],
        *,
        stage: str,
        chip_size: int,
        metrics: StageMetrics,
    ) -> None:
        """run: answers each request's chips. stage: its name in spans and metrics."""
        self._loaded = loaded
        self._run = run
        self._stage = stage
        self._metrics = metrics
        self._canary = np.zeros((1, chip_size, chip_size, 3), np.uint8)
        device = "cpu"
        if not isinstance(loaded, ModelUnavailable):
            device = loaded.backend.choice.device
        self._workers = Workers(
            config.workers,
            stuck_after_s=config.stuck_after_s,
            feeders=config.feeders_on(device),
        )
        self._most = config.batch_photos_on(device)
        self._feeder = self._workers.feeder(
            self._call,
            max_batch_size=self._most,
            on_batch_start=partial(metrics.batches.started, stage),
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._feeder.max_batch_size = batching.max_batch_size or self._most

    async def check_health(self) -> None:
        if not isinstance(self._loaded, ModelUnavailable):
            await self._workers.check_health(lambda: self._call([self._canary]))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.stats()

    def _info(self, stage: str, *, version: str | None = None) -> StageInfo:
        if isinstance(self._loaded, ModelUnavailable):
            return StageInfo(stage, None, None, None, unavailable=self._loaded.message)
        choice = self._loaded.backend.choice
        return StageInfo(
            stage,
            self._loaded.model.id,
            choice.runtime,
            choice.device,
            choice.precision,
            choice.reason,
            version=version,
        )

    async def _answer(
        self,
        group: Sequence[Slot[Sequence[Photo]]],
        queued: Callable[[Photo, Place[Answer]], Queued[ByteArray, Found]],
    ) -> list[Slot[list[Answer]]]:
        """The answers of each request's photos, in order; an error stays in its slot.

        queued: a photo's chips, and what becomes of their answer.
        """
        gathering = Gathering[Answer](group)
        self._feeder.submit(
            [
                queued(photo, gathering.place(number, index))
                for number, photos in enumerate(group)
                for index, photo in enumerate(() if isinstance(photos, FaceGraphError) else photos)
            ]
        )
        found = await gathering.outcomes()
        for outcome in found:
            for answer in () if isinstance(outcome, FaceGraphError) else outcome:
                self._metrics.done(answer.spans[-1])
        return found

    def _call(self, requests: Sequence[ByteArray]) -> Sequence[Found]:
        if isinstance(self._loaded, ModelUnavailable):
            # A copy, as the traceback of one object would keep the frames of all callers.
            raise copy(self._loaded)
        return self._run(self._loaded, requests)


def loaded_or_missing(load: Callable[[], Loaded], *, pool: str) -> Loaded | ModelUnavailable:
    """What `load` gives, or its ModelUnavailable, which is logged with the pool's name."""
    try:
        return load()
    except ModelUnavailable as error:
        logger.error("%s: %s", pool, error.message)
        return error
