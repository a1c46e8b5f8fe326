"""The requests that the stages answer, for HTTP and the Python client alike.

Their calls go by reference through all stages (graph/pipeline/shared_calls.py). If a replica dies
or falls silent, the whole chain is sent again (graph/pipeline/retries.py), as the dead replica's
earlier answers may be lost too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio

from configs.graph import GraphConfig
from configs.spelling import did_you_mean
from deployments.contracts import (
    DecisionRule,
    FaceChoice,
    FoundFaces,
    Photo,
)
from deployments.errors import DeadlineExceeded, FaceNotFound, UnknownRecognizer
from deployments.images.limits import require_size
from deployments.replica.budget import Budget
from deployments.replica.deadline import Deadline
from deployments.replica.groups import only
from graph.pipeline import responses
from graph.pipeline.failures import raise_known
from graph.pipeline.judgements import Judging, judged_comparison, judged_faces, judging
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.shared_calls import Classified, SharedCalls, bytes_of
from graph.pipeline.stages import ColdStarts, Stages
from graph.schemas import (
    FACES_ALONE,
    CompareOptions,
    CompareResponse,
    DetectOptions,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
)
from graph.tracing import traced

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Request:
    """A request in progress: its deadline, and its start in epoch seconds."""

    deadline: Deadline
    started_at: float = field(default_factory=time.time)


class Pipeline:
    """The requests `detect`, `embed` and `compare`, answered by calls of the stages.

    Each method raises the stages' FaceGraphErrors, DeadlineExceeded after `timeout_s`,
    UnknownRecognizer and UnknownClassifier for a pool that is not served, and LivenessDisabled.
    """

    def __init__(
        self, config: GraphConfig, stages: Stages, metrics: RequestMetrics | None = None
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._retries = Retries(config.retries, metrics.sent_again if metrics else None)
        self._cold_starts = ColdStarts(
            {
                name: handle
                for name, handle in stages.recognizers.items()
                if config.recognizers[name].cold_start == "reject"
            }
        )
        batches = metrics.batches if metrics else None
        self._shared = SharedCalls(config, stages, self._retries, batches)
        self._bytes_in_calls = Budget(config.calls.max_bytes_in_flight)

    async def detect(self, photo: Photo, options: DetectOptions = FACES_ALONE) -> DetectResponse:
        return await traced(self.judged(photo, judging(self._config, options.attributes)))

    async def judged(self, photo: Photo, judge: Judging) -> DetectResponse:
        """The photo's faces with what the classifiers say of them."""
        photos = [replace(photo, areas=judge.areas)]

        async def answer(request: _Request) -> DetectResponse:
            async with self._room_for(photos):
                found = await self._shared.detect(photos, request.deadline, judge.pools)
            response = responses.detect_response(found.answer[0], request.started_at)
            return judged_faces(response, judge, found.of_photo(0), request.started_at)

        return await self._answer(answer)

    async def embed(self, photo: Photo, options: EmbedOptions) -> EmbedResponse:
        """Raises FaceNotFound."""
        pools = self.pools(options.recognizers)
        judge = judging(self._config, options.attributes, liveness=options.liveness)
        photos = [replace(photo, faces=options.faces, areas=judge.areas)]

        async def answer(request: _Request) -> EmbedResponse:
            await self._cold_starts.require_replicas(pools)
            async with self._room_for(photos):
                found = await self._shared.embed(photos, pools, request.deadline, judge.pools)
            parts = [part for (part,) in found.answer]
            require_face(parts[0].faces)
            response = responses.embed_response(parts, request.started_at)
            return judged_faces(response, judge, found.of_photo(0), request.started_at)

        return await traced(self._answer(answer))

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        """Raises FaceNotFound, naming the photo."""
        pools = self.pools(options.recognizers)
        judge = judging(self._config, None, liveness=options.liveness is not None)
        source_face: FaceChoice | int = "largest"
        if options.source_face is not None:
            source_face = options.source_face
        chosen = {"source": source_face, "target": options.faces}
        judged = [name for name in chosen if options.liveness in ("both", name)]
        photos = [
            replace(
                photo,
                faces=chosen[photo.field],
                areas=judge.areas if photo.field in judged else (),
            )
            for photo in (source, target)
        ]
        rules = self._rules(pools, options.threshold)

        async def answer(request: _Request) -> CompareResponse:
            await self._cold_starts.require_replicas(pools)
            async with self._room_for(photos):
                found = await self._shared.compare(photos, rules, request.deadline, judge.pools)
            comparison = found.answer
            require_face(comparison.source)
            require_face(comparison.target)
            response = responses.compare_response(comparison, request.started_at)
            if not judged:
                return response
            classes = {name: found.of_photo(list(chosen).index(name)) for name in judged}
            order = comparison.similarity.order
            return judged_comparison(response, order, judge, classes, request.started_at)

        response = await traced(self._answer(answer))
        if self._metrics:
            self._metrics.compared(response)
        return response

    async def call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a stage's method with arguments that no other stage computes."""

        async def answer(_: _Request) -> Any:
            return await self._retries.answer(lambda attempt: attempt.send(method, *args, **kwargs))

        return await self._answer(answer)

    async def call_with_embeddings(
        self,
        method: Any,
        photo: Photo,
        pool: str,
        *args: Any,
        classifiers: Collection[str] = (),
        **kwargs: Any,
    ) -> Classified[Any]:
        """Call a stage's method whose first argument is a pool's answer to a group of one photo,
        which goes from the recognizer to that stage by reference; beside it the classifiers."""
        self.pools([pool])

        async def answer(request: _Request) -> Classified[Any]:
            async def send(attempt: Attempt) -> Classified[Any]:
                embedded, classified = self._shared.embeddings(
                    attempt, photo, pool, request.deadline, classifiers
                )
                called = attempt.send(method, embedded, *args, **kwargs)
                found, *groups = await asyncio.gather(called, *classified)
                return Classified(found, [only(group) for group in groups])

            await self._cold_starts.require_replicas([pool])
            async with self._room_for([photo]):
                return await self._retries.answer(send)

        return await self._answer(answer)

    def pools(self, wanted: Sequence[str] | None) -> Sequence[str]:
        """The pools of a request; raises UnknownRecognizer for one that is not served."""
        served = list(self._config.recognizers)
        for name in wanted or ():
            if name not in self._config.recognizers:
                raise UnknownRecognizer(
                    f"recognizers: {name!r} is not served{did_you_mean(name, served)}; this graph"
                    f" has {', '.join(served)}",
                    field="recognizers",
                    served=served,
                )
        return wanted or self._config.chosen_by_default

    def _rules(self, pools: Sequence[str], threshold: float | None) -> dict[str, DecisionRule]:
        configs = {name: self._config.recognizers[name] for name in pools}
        return {
            name: DecisionRule(
                config.decision_threshold if threshold is None else threshold,
                config.max_uncertainty,
                config.lowest_quality,
            )
            for name, config in configs.items()
        }

    async def _answer(self, answer: Callable[[_Request], Awaitable[Answer]]) -> Answer:
        """Run `answer` within `timeout_s`; raises FaceGraphErrors."""
        timeout_s = self._config.request_limits.timeout_s
        try:
            with anyio.fail_after(timeout_s) as scope:
                return await answer(_Request(Deadline.after(timeout_s)))
        except BaseException as error:
            # A call that the timeout interrupts may raise anything, even a cancellation that
            # asyncio does not know of.
            if scope.cancel_called:
                raise DeadlineExceeded("the answer was not ready in time") from error
            raise_known(error)

    def _room_for(self, photos: Sequence[Photo]) -> AbstractAsyncContextManager[object]:
        """Room for the photos in calls. Raises ImageTooLarge."""
        for photo in photos:
            require_size(photo, self._config.image_limits)
        return self._bytes_in_calls.reserved(bytes_of(photos))


def require_face(faces: FoundFaces | None) -> None:
    """Raise FaceNotFound, naming the photo, if there is none."""
    if faces is not None and not len(faces):
        where = " in the rows that the file contains: it is cut off" if faces.truncated else ""
        raise FaceNotFound(f"{faces.field}: no face found{where}", field=faces.field)
