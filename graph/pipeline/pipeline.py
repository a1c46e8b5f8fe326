"""The way of a request through the stages, for HTTP and the Python client alike.

    photos --Detector--> faces and crops --Aligner--> chips --Recognizer--> embeddings
    source's and target's embeddings --Aggregator--> similarities and the decision

The calls of a request travel in one of two ways. Either way, each stage passes on the detected
faces, which the response contains.

- Direct calls: the ingress awaits each stage's answer and sends it to the next stage as a gRPC
  message. It awaits first because Serve would spin for ever on a response whose replica died.
  Several requests may share a direct call (graph/pipeline/shared_calls.py).
- Calls by reference: the ingress passes each stage's DeploymentResponse to the next stage without
  awaiting it. It is always a top-level argument: a reference inside an answer may be freed before
  the next stage has taken it.

A call whose replica dies or falls silent is sent again (graph/pipeline/retries.py). A direct call
is sent again alone; by reference it is the whole chain, as the dead replica's earlier answers may
be lost too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
from grpc.aio import AioRpcError
from ray.serve.handle import DeploymentResponse

from configs.graph import GraphConfig
from configs.spelling import did_you_mean
from deployments.contracts import (
    Comparison,
    DecisionRule,
    DetectedPhoto,
    Embeddings,
    FaceChoice,
    FoundFaces,
    Photo,
)
from deployments.errors import FaceNotFound, UnknownRecognizer
from deployments.images.limits import require_size
from deployments.replica.batches import gather_or_cancel
from deployments.replica.budget import Budget
from deployments.replica.deadline import Deadline
from graph.pipeline import responses
from graph.pipeline.failures import as_facegraph_error, is_message_too_large
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.shared_calls import BatchedCalls, bytes_of, with_time_left
from graph.pipeline.stages import ColdStarts, Methods, Stages
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
)
from graph.tracing import traced

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Request:
    """A request in progress: how its calls travel, its deadline and its start in epoch seconds."""

    methods: Methods
    by_reference: bool
    deadline: Deadline
    started_at: float = field(default_factory=time.time)


class Pipeline:
    """The requests `detect`, `embed` and `compare`, answered by calls of the stages.

    Each method raises the stages' FaceGraphErrors, DeadlineExceeded after `timeout_s`, and
    UnknownRecognizer for a pool that is not served.
    """

    def __init__(
        self, config: GraphConfig, stages: Stages, metrics: RequestMetrics | None = None
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._mode_by_reference = config.calls.mode == "by_reference"
        self._direct = stages.methods(by_reference=False)
        self._by_reference = stages.methods(by_reference=True)
        self._retries = Retries(config.retries, metrics.sent_again if metrics else None)
        self._cold_starts = ColdStarts(
            {
                name: handle
                for name, handle in stages.recognizers.items()
                if config.recognizers[name].cold_start == "reject"
            }
        )
        batches = metrics.batches if metrics else None
        self._batched = BatchedCalls(config, stages, self._retries, batches)
        self._bytes_in_calls = Budget(config.calls.max_bytes_in_flight)

    async def detect(self, photo: Photo) -> DetectResponse:
        async def answer(request: _Request) -> DetectResponse:
            (found,) = await self._detected(request, [photo], crops=False)
            return responses.detect_response(found, request.started_at)

        return await traced(self._answer(answer))

    async def embed(self, photo: Photo, options: EmbedOptions) -> EmbedResponse:
        """Raises FaceNotFound."""
        pools = self.pools(options.recognizers)
        photos = [replace(photo, faces=options.faces)]

        async def answer(request: _Request) -> EmbedResponse:
            embedded = await self._embedded(request, photos, pools)
            parts = [part for (part,) in embedded]
            require_face(parts[0].faces)
            return responses.embed_response(parts, request.started_at)

        return await traced(self._answer(answer))

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        """Raises FaceNotFound, naming the photo."""
        pools = self.pools(options.recognizers)
        source_face: FaceChoice | int = "largest"
        if options.source_face is not None:
            source_face = options.source_face
        photos = [replace(source, faces=source_face), replace(target, faces=options.faces)]
        rules = self._rules(pools, options.threshold)

        async def answer(request: _Request) -> CompareResponse:
            comparison = await self._compared(request, rules, photos, pools)
            require_face(comparison.source)
            require_face(comparison.target)
            return responses.compare_response(comparison, request.started_at)

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
        self, method: Any, photo: Photo, pool: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a stage's method whose first argument is a photo's embeddings by a pool, which go
        from the recognizer to that stage by reference."""
        self.pools([pool])

        async def answer(request: _Request) -> Any:
            chained = replace(request, methods=self._by_reference, by_reference=True)
            await self._cold_starts.require_replicas([pool])
            async with self._room_for([photo]):
                return await self._retries.answer(
                    lambda attempt: attempt.send(
                        method, *self._chain(attempt, chained, [photo], [pool]), *args, **kwargs
                    )
                )

        return await self._answer(answer)

    async def _detected(
        self, request: _Request, photos: Sequence[Photo], *, crops: bool
    ) -> list[DetectedPhoto]:
        """Detect the faces of all photos in one call.

        A call costs more than a small photo's work, and the detector works on the photos of a call
        concurrently.
        """
        async with self._room_for(photos):
            if crops and self._batches_inference and not self._are_large(photos):
                return await self._batched.detect(photos, request.deadline)
            detect = self._detect_method(request, photos)
            return await self._retries.answer(
                lambda attempt: attempt.send(
                    detect, with_time_left(photos, request.deadline), crops=crops
                )
            )

    async def _embedded(
        self, request: _Request, photos: Sequence[Photo], pools: Sequence[str]
    ) -> list[list[Embeddings]]:
        """Return the embeddings by pool, then by photo."""
        await self._cold_starts.require_replicas(pools)
        if request.by_reference:
            async with self._room_for(photos):
                return await self._retries.answer(
                    lambda attempt: asyncio.gather(*self._chain(attempt, request, photos, pools))
                )
        detected = await self._detected(request, photos, crops=True)
        chips = await self._batched.align(detected, request.deadline)

        async def embed(pool: str) -> list[Embeddings]:
            if self._batches_inference:
                return await self._batched.embed(pool, chips, request.deadline)
            method = request.methods.embed[pool]
            return await self._retries.answer(
                lambda attempt: attempt.send(method, with_time_left(chips, request.deadline))
            )

        return await gather_or_cancel([embed(pool) for pool in pools])

    async def _compared(
        self,
        request: _Request,
        rules: Mapping[str, DecisionRule],
        photos: Sequence[Photo],
        pools: Sequence[str],
    ) -> Comparison:
        if request.by_reference:
            await self._cold_starts.require_replicas(pools)
            async with self._room_for(photos):
                return await self._retries.answer(
                    lambda attempt: attempt.send(
                        request.methods.compare,
                        rules,
                        *self._chain(attempt, request, photos, pools),
                    )
                )
        embedded = await self._embedded(request, photos, pools)
        return await self._batched.compare((rules, embedded), request.deadline)

    def _chain(
        self, attempt: Attempt, request: _Request, photos: Sequence[Photo], pools: Sequence[str]
    ) -> list[DeploymentResponse[Any]]:
        """Send photos through the stages to every pool by reference, without awaiting a stage."""
        detect = self._detect_method(request, photos)
        detected = attempt.send(detect, with_time_left(photos, request.deadline), crops=True)
        chips = attempt.send(request.methods.align, detected)
        return [attempt.send(request.methods.embed[name], chips) for name in pools]

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
        """Run `answer` in the configured mode and within `timeout_s`; raises FaceGraphErrors."""
        timeout_s = self._config.request_limits.timeout_s
        deadline = Deadline.after(timeout_s)
        try:
            with anyio.fail_after(timeout_s) as scope:
                try:
                    return await answer(
                        self._request(deadline, by_reference=self._mode_by_reference)
                    )
                except AioRpcError as error:
                    if not is_message_too_large(error):
                        raise
                    return await answer(self._request(deadline, by_reference=True))
        except BaseException as error:
            # A direct call that the timeout interrupts may raise anything, even a cancellation
            # that asyncio does not know of.
            known = as_facegraph_error(TimeoutError() if scope.cancel_called else error)
            if known is None:
                raise
            raise known from error

    def _room_for(self, photos: Sequence[Photo]) -> AbstractAsyncContextManager[object]:
        """Room for the photos in calls of the detector. Raises ImageTooLarge."""
        for photo in photos:
            require_size(photo, self._config.image_limits)
        return self._bytes_in_calls.reserved(bytes_of(photos))

    def _detect_method(self, request: _Request, photos: Sequence[Photo]) -> Any:
        """Large photos go to the detector through the object store; its answer is always small."""
        return (self._by_reference if self._are_large(photos) else request.methods).detect

    def _are_large(self, photos: Sequence[Photo]) -> bool:
        return bytes_of(photos) > self._config.calls.direct_up_to_bytes

    @property
    def _batches_inference(self) -> bool:
        return self._config.calls.max_requests_per_call > 1

    def _request(self, deadline: Deadline, *, by_reference: bool) -> _Request:
        methods = self._by_reference if by_reference else self._direct
        return _Request(methods, by_reference, deadline)


def require_face(faces: FoundFaces | None) -> None:
    """Raise FaceNotFound, naming the photo, if there is none."""
    if faces is not None and not len(faces):
        where = " in the rows that the file contains: it is cut off" if faces.truncated else ""
        raise FaceNotFound(f"{faces.field}: no face found{where}", field=faces.field)
