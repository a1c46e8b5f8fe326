"""A classifier pool's Ray deployment: chips with margin in, scores out."""

import logging
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.classifier import ClassifierConfig
from configs.model import BatchingConfig
from deployments.classifier.classifier import Classifier, area_of, classifier_from
from deployments.contracts import ByteArray, Classes, DetectedPhoto, FloatArray, StageInfo
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Queued
from deployments.replica.gathering import Gathering, Place
from deployments.replica.groups import Slot
from deployments.replica.logs import drop_unwritable_lines
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch, Workers

logger = logging.getLogger("ray.serve")


@serve.deployment(name="Classifier")
class ClassifierDeployment:
    """A pool of one classifier. Every pool is this class, bound under the pool's name.

    A replica without its file stays up and answers every call with ModelUnavailable, as a
    recognizer's.
    """

    def __init__(self, name: str, config: ClassifierConfig) -> None:
        drop_unwritable_lines()
        self._name = name
        self._stage = f"classify:{name}"
        self._area = area_of(config)
        self._none = np.zeros((0, self._area.size, self._area.size, 3), np.uint8)
        self._canary = np.zeros((1, *self._none.shape[1:]), np.uint8)
        self._metrics = StageMetrics(metrics)
        self._classifier = _load(config, name=name)
        device = "cpu"
        if isinstance(self._classifier, Classifier):
            device = self._classifier.backend.choice.device
        self._workers = Workers(
            config.workers,
            stuck_after_s=config.stuck_after_s,
            feeders=config.feeders_on(device),
        )
        self._most = config.batch_photos_on(device)
        self._feeder = self._workers.feeder(
            self._classify,
            max_batch_size=self._most,
            on_batch_start=partial(self._metrics.batches.started, self._stage),
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._feeder.max_batch_size = batching.max_batch_size or self._most

    async def check_health(self) -> None:
        classifier = self._classifier
        if isinstance(classifier, Classifier):
            await self._workers.check_health(lambda: classifier.classify(self._canary))

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._workers.stats()

    def describe(self) -> StageInfo:
        stage = f"classifier:{self._name}"
        if isinstance(self._classifier, ModelUnavailable):
            return StageInfo(stage, None, None, None, unavailable=self._classifier.message)
        model, choice = self._classifier.model.id, self._classifier.backend.choice
        return StageInfo(
            stage, model, choice.runtime, choice.device, choice.precision, choice.reason
        )

    async def classify(
        self, group: Sequence[Slot[Sequence[DetectedPhoto]]]
    ) -> list[Slot[list[Classes]]]:
        """Classify the faces of each request's photos, in order; an error stays in its slot.

        A photo that did not ask for the pool's area has no scores. ModelUnavailable is the value
        of every slot if the pool's file is missing, DeadlineExceeded that of a request with no time
        left.
        """
        gathering = Gathering[Classes](group)
        self._feeder.submit(
            [
                self._queued(photo, gathering.place(number, index))
                for number, photos in enumerate(group)
                for index, photo in enumerate(() if isinstance(photos, FaceGraphError) else photos)
            ]
        )
        found = await gathering.outcomes()
        for outcome in found:
            for photo in () if isinstance(outcome, FaceGraphError) else outcome:
                self._metrics.done(photo.spans[-1])
        return found

    def _queued(self, photo: DetectedPhoto, place: Place[Classes]) -> Queued[ByteArray, FloatArray]:
        watch = Stopwatch(self._stage, photo.faces.field)

        def done(scores: FloatArray | Exception) -> None:
            if isinstance(scores, Exception):
                place.settle(scores)
            else:
                place.settle(Classes(self._name, scores, photo.faces, (watch.stop(),)))

        chips = photo.margins.get(self._area, self._none)
        return Queued(chips, Deadline.after(photo.time_left_s), done, lambda: place.is_wanted)

    def _classify(self, requests: Sequence[ByteArray]) -> list[FloatArray]:
        if isinstance(self._classifier, ModelUnavailable):
            # A copy, as the traceback of one object would keep the frames of all callers.
            raise copy(self._classifier)
        return self._classifier.classify_many(requests)


def _load(config: ClassifierConfig, *, name: str) -> Classifier | ModelUnavailable:
    try:
        return classifier_from(config)
    except ModelUnavailable as error:
        logger.error("classifier pool %s: %s", name, error.message)
        return error
