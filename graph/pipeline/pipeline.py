"""One request's way through the graph; HTTP and the Python client both take it.

    photos --Detector--> faces and crops --Aligner--> chips --Recognizer--> embeddings
    source's and target's embeddings --Aggregator--> similarities and the decision

By reference, each stage's answer goes to the next as a DeploymentResponse that nobody here waits
for, always as an argument of its own: a reference inside of an answer may be freed before the next
stage has taken it. Directly, it is awaited first: Serve would spin for ever on a response whose
replica died. What the client is told of the faces travels along either way. Direct calls may be
shared with other requests (graph/pipeline/shared_calls.py).

Where a replica dies or falls silent, its call is sent again (graph/pipeline/retries.py): directly
that call alone, by reference the whole chain, as what the dead replica had answered may be gone
with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
from grpc import StatusCode
from grpc.aio import AioRpcError
from ray.serve.handle import DeploymentResponse

from configs.graph import GraphConfig
from deployments.contracts import (
    Comparison,
    DecisionRule,
    DetectedPhoto,
    Embeddings,
    FoundFaces,
    Photo,
)
from deployments.errors import FaceNotFound, UnknownRecognizer
from deployments.replica.batches import together
from deployments.replica.deadline import Deadline
from graph.pipeline import responses
from graph.pipeline.failures import as_facegraph_error
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.shared_calls import MergedCalls, bytes_of, timed
from graph.pipeline.stages import ColdStarts, Methods, Stages
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Call:
    """One request under way."""

    methods: Methods
    by_reference: bool
    deadline: Deadline
    started_at: float = field(default_factory=time.time)


class Pipeline:
    def __init__(
        self, config: GraphConfig, stages: Stages, metrics: RequestMetrics | None = None
    ) -> None:
        self._config = config
        self._by_default = config.calls.mode == "by_reference"
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
        self._merged = MergedCalls(config, stages, self._retries, batches)

    async def detect(self, photo: Photo) -> DetectResponse:
        async def answer(call: _Call) -> DetectResponse:
            (found,) = await self._detected(call, [photo], crops=False)
            return responses.detect_response(found, call.started_at)

        return await self._answer(answer)

    async def embed(self, photo: Photo, options: EmbedOptions) -> EmbedResponse:
        pools = self._pools(options.recognizers)
        photos = [replace(photo, faces=options.faces)]

        async def answer(call: _Call) -> EmbedResponse:
            embedded = await self._embedded(call, photos, pools)
            parts = [part for (part,) in embedded]
            _require_face(parts[0].faces)
            return responses.embed_response(parts, call.started_at)

        return await self._answer(answer)

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        pools = self._pools(options.recognizers)
        photos = [replace(source, faces="largest"), replace(target, faces=options.faces)]
        rules = self._rules(pools, options.threshold)

        async def answer(call: _Call) -> CompareResponse:
            comparison = await self._compared(call, rules, photos, pools)
            _require_face(comparison.source)
            _require_face(comparison.target)
            return responses.compare_response(comparison, call.started_at)

        return await self._answer(answer)

    async def _detected(
        self, call: _Call, photos: Sequence[Photo], *, crops: bool
    ) -> list[DetectedPhoto]:
        """One call per stage takes all photos of a request: a call costs more than a small photo's
        work, and a stage works on the photos of a call at the same time."""
        if crops and self._merges_inference and not self._are_large(photos):
            return await self._merged.detect(photos, call.deadline)
        detect = self._detect(call, photos)
        return await self._retries.answer(
            lambda one: one.send(detect, timed(photos, call.deadline), crops=crops)
        )

    async def _embedded(
        self, call: _Call, photos: Sequence[Photo], pools: Sequence[str]
    ) -> list[list[Embeddings]]:
        """By pool, then by photo."""
        await self._cold_starts.require_replicas(pools)
        if call.by_reference:

            async def chain(one: Attempt) -> list[list[Embeddings]]:
                return list(await asyncio.gather(*self._chain(one, call, photos, pools)))

            return await self._retries.answer(chain)
        detected = await self._detected(call, photos, crops=True)
        chips = await self._merged.align(detected, call.deadline)

        async def embed(pool: str) -> list[Embeddings]:
            if self._merges_inference:
                return await self._merged.embed(pool, chips, call.deadline)
            return await self._retries.answer(lambda one: one.send(call.methods.embed[pool], chips))

        return await together([embed(pool) for pool in pools])

    async def _compared(
        self,
        call: _Call,
        rules: Mapping[str, DecisionRule],
        photos: Sequence[Photo],
        pools: Sequence[str],
    ) -> Comparison:
        if call.by_reference:
            await self._cold_starts.require_replicas(pools)

            async def chain(one: Attempt) -> Comparison:
                embedded = self._chain(one, call, photos, pools)
                compared: Comparison = await one.send(call.methods.compare, rules, *embedded)
                return compared

            return await self._retries.answer(chain)
        embedded = await self._embedded(call, photos, pools)
        return await self._merged.compare((rules, embedded), call.deadline)

    def _chain(
        self, one: Attempt, call: _Call, photos: Sequence[Photo], pools: Sequence[str]
    ) -> list[DeploymentResponse[Any]]:
        """Sends photos on their way to every pool, by reference; nothing is awaited."""
        detected = one.send(self._detect(call, photos), timed(photos, call.deadline), crops=True)
        chips = one.send(call.methods.align, detected)
        return [one.send(call.methods.embed[name], chips) for name in pools]

    def _pools(self, wanted: Sequence[str] | None) -> Sequence[str]:
        served = list(self._config.recognizers)
        for name in wanted or ():
            if name not in self._config.recognizers:
                raise UnknownRecognizer(
                    f"recognizers: {name!r} is not served; this graph has {', '.join(served)}",
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
            )
            for name, config in configs.items()
        }

    async def _answer(self, answer: Callable[[_Call], Awaitable[Answer]]) -> Answer:
        """By the configured way, in bounded time; what went wrong gets its name."""
        timeout_s = self._config.request_limits.timeout_s
        ends = Deadline.after(timeout_s)
        try:
            with anyio.fail_after(timeout_s) as deadline:
                try:
                    return await answer(self._call(ends, by_reference=self._by_default))
                except AioRpcError as error:
                    if error.code() != StatusCode.RESOURCE_EXHAUSTED:
                        raise
                    # The faces found are too large for a message.
                    return await answer(self._call(ends, by_reference=True))
        except BaseException as error:
            # A direct call that is cut short by it may raise anything, even a cancellation that
            # asyncio does not know of.
            late = deadline.cancel_called
            known = as_facegraph_error(TimeoutError() if late else error)
            if known is None:
                raise
            raise known from error

    def _detect(self, call: _Call, photos: Sequence[Photo]) -> Any:
        """Large photos reach it through the object store; what it answers is small all the same."""
        return (self._by_reference if self._are_large(photos) else call.methods).detect

    def _are_large(self, photos: Sequence[Photo]) -> bool:
        return bytes_of(photos) > self._config.calls.direct_up_to_bytes

    @property
    def _merges_inference(self) -> bool:
        return self._config.calls.max_requests_per_call > 1

    def _call(self, deadline: Deadline, *, by_reference: bool) -> _Call:
        methods = self._by_reference if by_reference else self._direct
        return _Call(methods, by_reference, deadline)


def _require_face(faces: FoundFaces | None) -> None:
    if faces is not None and not len(faces):
        raise FaceNotFound(f"{faces.field}: no face found", field=faces.field)
