"""A recognizer pool's Ray deployment: chips in, embeddings out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ray import serve
from ray.serve import metrics

from configs.recognizer import RecognizerConfig
from deployments.contracts import (
    ByteArray,
    Comparison,
    Embeddings,
    FaceChips,
    Rules,
    StageInfo,
)
from deployments.errors import FaceGraphError
from deployments.inference.pool import PoolReplica, loaded_or_missing
from deployments.recognizer.recognizer import Recognizer, recognizer_from
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Queued
from deployments.replica.gathering import Place
from deployments.replica.groups import Slot
from deployments.replica.logs import guard_log
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import Stopwatch


@serve.deployment(name="Recognizer")
class RecognizerDeployment(PoolReplica[Recognizer, FaceChips, Embeddings, Embeddings]):
    """A pool of one recognizer. Every pool is this class, bound under the pool's name.

    compare: compare_group of the aggregator with its configuration, of a graph with
    `calls.in_process_stages`.
    """

    def __init__(
        self,
        name: str,
        config: RecognizerConfig,
        compare: Callable[..., list[Slot[Comparison]]] | None = None,
    ) -> None:
        guard_log()
        self._compare = compare
        self._name = name
        self._chip_key = config.entry.chip.key
        super().__init__(
            config,
            loaded_or_missing(
                lambda: recognizer_from(config, name=name), pool=f"recognizer pool {name}"
            ),
            Recognizer.embed_many,
            stage=f"recognize:{name}",
            chip_size=config.entry.chip.size,
            metrics=StageMetrics(metrics),
        )

    def describe(self) -> StageInfo:
        version = self._loaded.version if isinstance(self._loaded, Recognizer) else None
        return self._info(f"recognizer:{self._name}", version=version)

    async def embed(
        self, group: Sequence[Slot[Sequence[FaceChips]]]
    ) -> list[Slot[list[Embeddings]]]:
        """Embed the chips of each request's photos, in order; an error stays in its slot.

        ModelUnavailable is the value of every slot if the pool's weights are missing,
        DeadlineExceeded that of a request with no time left.
        """
        found = await self._answer(group, self._queued)
        for outcome in found:
            for photo in () if isinstance(outcome, FaceGraphError) else outcome:
                self._metrics.embedded(self._name, photo.uncertainty)
        return found

    async def embed_compared(
        self,
        rules: Sequence[Rules],
        group: Sequence[Slot[Sequence[FaceChips]]],
    ) -> list[Slot[Comparison]]:
        """Embed the chips as `embed` does, and compare as the aggregator's `compare` does."""
        assert self._compare is not None
        return self._compare(rules, [await self.embed(group)], self._metrics.done)

    def _queued(self, chips: FaceChips, place: Place[Embeddings]) -> Queued[ByteArray, Embeddings]:
        watch = Stopwatch(self._stage, chips.faces.field)

        def done(found: Embeddings | Exception) -> None:
            if isinstance(found, Embeddings):
                spans = (*chips.spans, watch.stop())
                found = replace(found, faces=chips.faces, spans=spans)
            place.settle(found)

        deadline = Deadline.after(chips.time_left_s)
        return Queued(chips.of(self._chip_key), deadline, done, lambda: place.is_wanted)
