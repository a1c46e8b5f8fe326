"""A classifier pool's Ray deployment: chips with margin in, scores out."""

from collections.abc import Sequence

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.classifier import ClassifierConfig
from deployments.classifier.classifier import Classifier, classifier_from
from deployments.contracts import ByteArray, Classes, DetectedPhoto, FloatArray, StageInfo
from deployments.images.margins import area_of
from deployments.inference.pool import PoolReplica, loaded_or_missing
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Queued
from deployments.replica.gathering import Place
from deployments.replica.groups import Slot
from deployments.replica.logs import guard_log
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch


@serve.deployment(name="Classifier")
class ClassifierDeployment(PoolReplica[Classifier, DetectedPhoto, FloatArray, Classes]):
    """A pool of one classifier. Every pool is this class, bound under the pool's name."""

    def __init__(self, name: str, config: ClassifierConfig) -> None:
        guard_log()
        self._name = name
        self._area = area_of(config)
        self._none = np.zeros((0, self._area.size, self._area.size, 3), np.uint8)
        super().__init__(
            config,
            loaded_or_missing(lambda: classifier_from(config), pool=f"classifier pool {name}"),
            Classifier.classify_many,
            stage=f"classify:{name}",
            chip_size=self._area.size,
            metrics=StageMetrics(metrics),
        )

    def describe(self) -> StageInfo:
        return self._info(f"classifier:{self._name}")

    async def classify(
        self, group: Sequence[Slot[Sequence[DetectedPhoto]]]
    ) -> list[Slot[list[Classes]]]:
        """Classify the faces of each request's photos, in order; an error stays in its slot.

        A photo that did not ask for the pool's area has no scores. ModelUnavailable is the value
        of every slot if the pool's file is missing, DeadlineExceeded that of a request with no time
        left.
        """
        return await self._answer(group, self._queued)

    def _queued(self, photo: DetectedPhoto, place: Place[Classes]) -> Queued[ByteArray, FloatArray]:
        watch = Stopwatch(self._stage, photo.faces.field)

        def done(scores: FloatArray | Exception) -> None:
            if isinstance(scores, Exception):
                place.settle(scores)
            else:
                place.settle(Classes(self._name, scores, photo.faces, (watch.stop(),)))

        chips = photo.margins.get(self._area, self._none)
        return Queued(chips, Deadline.after(photo.time_left_s), done, lambda: place.is_wanted)
