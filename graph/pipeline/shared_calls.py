"""Direct calls of the stages that several requests share: a call costs many times what a small
photo's message does, in the ingress, in the stage and in between."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Generic, TypeVar

import anyio
from ray.serve.handle import DeploymentHandle

from configs.graph import GraphConfig
from deployments.contracts import (
    Comparison,
    DecisionRule,
    DetectedPhoto,
    Embeddings,
    FaceChips,
    Photo,
)
from deployments.replica.batches import Batches
from deployments.replica.deadline import Deadline
from deployments.replica.metrics import BatchMetrics
from graph.pipeline.failures import as_facegraph_error
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.routing import known_replicas
from graph.pipeline.stages import Stages
from graph.serve_private import current_request_id, set_request_id

Wanted = TypeVar("Wanted")
Answer = TypeVar("Answer")
Timed = TypeVar("Timed", Photo, DetectedPhoto, FaceChips)
Embedded = Sequence[Sequence[Embeddings]]
Sending = Callable[[Attempt], Awaitable[Any]]
Compared = tuple[Mapping[str, DecisionRule], Embedded]

# Most requests in one call of the aligner or the aggregator: a message of a few megabytes at most.
_MOST_REQUESTS = 32


@dataclass(frozen=True)
class Asked(Generic[Wanted]):
    """What one request wants of a call."""

    wanted: Wanted
    deadline: Deadline
    request_id: str


class SharedCalls(Batches[Asked[Wanted], Answer]):
    """What is asked for in one turn of the event loop goes together, from the first one on: those
    whom one call answers ask for the next one at once."""

    async def ask(self, wanted: Wanted, deadline: Deadline) -> Answer:
        return await self.answer(Asked(wanted, deadline, current_request_id()), deadline)

    def _something_changed(self) -> None:
        asyncio.get_running_loop().call_soon(self._start)


class InferenceCalls(SharedCalls[Sequence[Wanted], Answer]):
    """Calls with photos. One starts while a worker of the stage is free, as far as this process
    knows: a call keeps as many busy as it has photos, but no more than one replica has."""

    def __init__(
        self,
        call: Callable[[Sequence[Asked[Sequence[Wanted]]]], Awaitable[Sequence[Answer]]],
        stage: DeploymentHandle[Any],
        *,
        workers: int,
        max_bytes: float = math.inf,
        size: Callable[[Sequence[Wanted]], int] = len,
        **batches: Any,
    ) -> None:
        """max_bytes: of one call, by its requests' `size`; that of one request may be larger."""
        super().__init__(call, at_once=workers, **batches)
        self._stage, self._workers = stage, workers
        self._max_bytes, self._size = max_bytes, size

    def _has_room(self) -> bool:
        batches = self._running.values()
        photos = [
            sum(len(one.item.wanted) for one in batch if not one.future.done()) for batch in batches
        ]
        busy = sum(min(self._workers, count) for count in photos)
        return busy < self._workers * (known_replicas(self._stage) or 1)

    def _fits(
        self, item: Asked[Sequence[Wanted]], batch: Sequence[Asked[Sequence[Wanted]]]
    ) -> bool:
        size = sum(self._size(asked.wanted) for asked in (*batch, item))
        return super()._fits(item, batch) and size <= self._max_bytes


class MergedCalls:
    """The direct calls of one ingress replica.

    Each answers and raises what the stage does for this request; ModelUnavailable, Overloaded and
    DeadlineExceeded may stand for all that share a call. A request that gives up takes no part in
    calls to come; those under way end once nobody waits for them any more.
    """

    def __init__(
        self,
        config: GraphConfig,
        stages: Stages,
        retries: Retries,
        metrics: BatchMetrics | None = None,
    ) -> None:
        self._methods = stages.methods(by_reference=False)
        self._retries = retries
        self._timeout_s = config.request_limits.timeout_s

        def told(stage: str) -> dict[str, Any]:
            return {"started": partial(metrics.started, stage)} if metrics else {}

        limits = config.calls
        small: dict[str, Any] = {
            "at_once": limits.max_calls_in_flight,
            "max_batch_size": _MOST_REQUESTS,
        }
        self._alignments = SharedCalls(self._align, **small, **told("align"))
        self._comparisons = SharedCalls(self._compare, **small, **told("compare"))
        large: dict[str, Any] = {"max_batch_size": limits.max_requests_per_call}
        self._detections = InferenceCalls(
            self._detect,
            stages.detector,
            workers=config.detector.workers,
            max_bytes=limits.direct_up_to_bytes,
            size=bytes_of,
            **large,
            **told("call:detect"),
        )
        self._embeddings = {
            name: InferenceCalls(
                partial(self._embed, name),
                handle,
                workers=config.recognizers[name].workers,
                **large,
                **told(f"call:recognize:{name}"),
            )
            for name, handle in stages.recognizers.items()
        }

    async def detect(self, photos: Sequence[Photo], deadline: Deadline) -> list[DetectedPhoto]:
        """With crops."""
        return await self._detections.ask(photos, deadline)

    async def align(self, detected: Sequence[DetectedPhoto], deadline: Deadline) -> list[FaceChips]:
        return await self._alignments.ask(detected, deadline)

    async def embed(
        self, pool: str, chips: Sequence[FaceChips], deadline: Deadline
    ) -> list[Embeddings]:
        return await self._embeddings[pool].ask(chips, deadline)

    async def compare(self, compared: Compared, deadline: Deadline) -> Comparison:
        return await self._comparisons.ask(compared, deadline)

    async def _detect(
        self, requests: Sequence[Asked[Sequence[Photo]]]
    ) -> list[list[DetectedPhoto]]:
        method = self._methods.detect_many
        found: list[list[DetectedPhoto]] = await self._send(
            "detect", requests, lambda one: one.send(method, _in_time(requests), crops=True)
        )
        return found

    async def _align(
        self, requests: Sequence[Asked[Sequence[DetectedPhoto]]]
    ) -> list[list[FaceChips]]:
        method = self._methods.align
        chips = iter(
            await self._send(
                "align", requests, lambda one: one.send(method, [*chain(*_in_time(requests))])
            )
        )
        return [[next(chips) for _ in asked.wanted] for asked in requests]

    async def _embed(
        self, pool: str, requests: Sequence[Asked[Sequence[FaceChips]]]
    ) -> list[list[Embeddings]]:
        method = self._methods.embed_many[pool]
        embedded: list[list[Embeddings]] = await self._send(
            f"recognize:{pool}", requests, lambda one: one.send(method, _in_time(requests))
        )
        return embedded

    async def _compare(self, requests: Sequence[Asked[Compared]]) -> list[Comparison]:
        wanted = [asked.wanted for asked in requests]
        method = self._methods.compare_many
        compared: list[Comparison] = await self._send(
            "compare", requests, lambda one: one.send(method, wanted)
        )
        return compared

    async def _send(self, stage: str, requests: Sequence[Asked[Any]], call: Sending) -> Any:
        """One call for these requests, none of which has longer than `timeout_s`. Where its replica
        dies or falls silent each is sent again alone: one of them may be why."""
        set_request_id(",".join([asked.request_id for asked in requests]))
        try:
            with anyio.fail_after(self._timeout_s):
                if len(requests) > 1:
                    return await self._retries.answer_once(call)
                return await self._retries.answer(call)
        except Exception as error:
            known = as_facegraph_error(error)
            if known is None:
                raise
            raise known from error


def timed(photos: Sequence[Timed], deadline: Deadline) -> list[Timed]:
    """The photos, or what became of them, with the time that is left for them."""
    return [replace(photo, time_left_s=deadline.left_s) for photo in photos]


def _in_time(requests: Sequence[Asked[Sequence[Timed]]]) -> list[list[Timed]]:
    """For each sending anew."""
    return [timed(asked.wanted, asked.deadline) for asked in requests]


def bytes_of(photos: Sequence[Photo]) -> int:
    return sum(
        len(photo.content) if isinstance(photo.content, bytes) else photo.content.nbytes
        for photo in photos
    )
