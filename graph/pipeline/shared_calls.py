"""Cross-request batching: direct calls of the stages that several requests share.

A call costs many times as much as the small photo's data that it carries: in the ingress, in the
stage and between them.
"""

import asyncio
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
from deployments.replica.batches import (
    DynamicBatcher,
    HasRoom,
    OnBatchStart,
    RunningBatches,
    fewer_calls_than,
)
from deployments.replica.deadline import Deadline
from deployments.replica.metrics import BatchMetrics
from graph.pipeline.failures import as_facegraph_error
from graph.pipeline.replicas import known_replicas
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.stages import Stages
from graph.serve_private import current_request_id, set_request_id

Payload = TypeVar("Payload")
Answer = TypeVar("Answer")
Timed = TypeVar("Timed", Photo, DetectedPhoto, FaceChips)
# The aggregator's arguments for one request: rules by pool, embeddings by pool and then by photo.
CompareArgs = tuple[Mapping[str, DecisionRule], Sequence[Sequence[Embeddings]]]

# Most requests in one call of the aligner or the aggregator: a message of a few megabytes at most.
_MAX_SMALL_REQUESTS = 32


@dataclass(frozen=True)
class QueuedRequest(Generic[Payload]):
    """One request's part of a call."""

    payload: Payload
    deadline: Deadline
    request_id: str


class CrossRequestBatcher(Generic[Payload, Answer]):
    """A dynamic batcher of requests for one method of a stage.

    Requests that arrive in the same event-loop iteration share one call: all requests of a call get
    its answers, and call the next stage, in the same iteration. The first request does not wait for
    a second.
    """

    def __init__(
        self,
        call: Callable[[Sequence[QueuedRequest[Payload]]], Awaitable[Sequence[Any]]],
        *,
        has_room: HasRoom,
        max_requests: int,
        fits: Callable[[QueuedRequest[Payload], Sequence[QueuedRequest[Payload]]], bool]
        | None = None,
        on_batch_start: OnBatchStart | None = None,
    ) -> None:
        """max_requests: most requests in one call. The other arguments are DynamicBatcher's."""
        self._batcher: DynamicBatcher[QueuedRequest[Payload], Answer] = DynamicBatcher(
            call,
            has_room=has_room,
            max_batch_size=max_requests,
            fits=fits,
            schedule=_in_the_next_iteration,
            on_batch_start=on_batch_start,
        )

    async def submit(self, payload: Payload, deadline: Deadline) -> Answer:
        """Return or raise the stage's answer to this request."""
        request = QueuedRequest(payload, deadline, current_request_id())
        return await self._batcher.submit(request, deadline)


def _in_the_next_iteration(start: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(start)


def free_worker(stage: DeploymentHandle[Any], *, workers: int) -> HasRoom:
    """A `has_room` that lets a call start while a worker of the stage is free.

    It knows of this process's calls only. A call keeps one worker busy per photo, but no more
    workers than one replica has. workers: of one replica.
    """

    def has_room(running: RunningBatches) -> bool:
        photos = [
            sum(len(queued.item.payload) for queued in batch if not queued.future.done())
            for batch in running
        ]
        busy = sum(min(workers, count) for count in photos)
        return busy < workers * (known_replicas(stage) or 1)

    return has_room


class BatchedCalls:
    """The direct calls of one ingress replica, batched across its requests.

    Each method returns or raises the stage's answer to this request. ModelUnavailable, Overloaded
    and DeadlineExceeded may stand for all requests of a call. A cancelled request leaves the queue;
    a running call is cancelled once all of its requests are.
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
        calls = config.calls

        def on_batch_start(stage: str) -> OnBatchStart | None:
            return partial(metrics.started, stage) if metrics else None

        self._alignments = CrossRequestBatcher[Sequence[DetectedPhoto], list[FaceChips]](
            self._align,
            has_room=fewer_calls_than(calls.max_calls_in_flight),
            max_requests=_MAX_SMALL_REQUESTS,
            on_batch_start=on_batch_start("align"),
        )
        self._comparisons = CrossRequestBatcher[CompareArgs, Comparison](
            self._compare,
            has_room=fewer_calls_than(calls.max_calls_in_flight),
            max_requests=_MAX_SMALL_REQUESTS,
            on_batch_start=on_batch_start("compare"),
        )
        self._detections = CrossRequestBatcher[Sequence[Photo], list[DetectedPhoto]](
            self._detect,
            has_room=free_worker(stages.detector, workers=config.detector.workers),
            max_requests=calls.max_requests_per_call,
            fits=partial(_fits_into_bytes, calls.direct_up_to_bytes),
            on_batch_start=on_batch_start("call:detect"),
        )
        self._embeddings = {
            pool: CrossRequestBatcher[Sequence[FaceChips], list[Embeddings]](
                partial(self._embed, pool),
                has_room=free_worker(handle, workers=config.recognizers[pool].workers),
                max_requests=calls.max_requests_per_call,
                on_batch_start=on_batch_start(f"call:recognize:{pool}"),
            )
            for pool, handle in stages.recognizers.items()
        }

    async def detect(self, photos: Sequence[Photo], deadline: Deadline) -> list[DetectedPhoto]:
        """One DetectedPhoto per photo, with crops."""
        return await self._detections.submit(photos, deadline)

    async def align(self, detected: Sequence[DetectedPhoto], deadline: Deadline) -> list[FaceChips]:
        return await self._alignments.submit(detected, deadline)

    async def embed(
        self, pool: str, chips: Sequence[FaceChips], deadline: Deadline
    ) -> list[Embeddings]:
        return await self._embeddings[pool].submit(chips, deadline)

    async def compare(self, args: CompareArgs, deadline: Deadline) -> Comparison:
        return await self._comparisons.submit(args, deadline)

    async def _detect(
        self, requests: Sequence[QueuedRequest[Sequence[Photo]]]
    ) -> list[list[DetectedPhoto]]:
        method = self._methods.detect_many
        return await self._send(
            requests, lambda attempt: attempt.send(method, _payloads_now(requests), crops=True)
        )

    async def _align(
        self, requests: Sequence[QueuedRequest[Sequence[DetectedPhoto]]]
    ) -> list[list[FaceChips]]:
        method = self._methods.align
        chips = iter(
            await self._send(
                requests, lambda attempt: attempt.send(method, [*chain(*_payloads_now(requests))])
            )
        )
        return [[next(chips) for _ in request.payload] for request in requests]

    async def _embed(
        self, pool: str, requests: Sequence[QueuedRequest[Sequence[FaceChips]]]
    ) -> list[list[Embeddings]]:
        method = self._methods.embed_many[pool]
        return await self._send(
            requests, lambda attempt: attempt.send(method, _payloads_now(requests))
        )

    async def _compare(self, requests: Sequence[QueuedRequest[CompareArgs]]) -> list[Comparison]:
        method = self._methods.compare_many
        payloads = [request.payload for request in requests]
        return await self._send(requests, lambda attempt: attempt.send(method, payloads))

    async def _send(
        self,
        requests: Sequence[QueuedRequest[Any]],
        call: Callable[[Attempt], Awaitable[Answer]],
    ) -> Answer:
        """Make one call for all requests, within `timeout_s`: no request's deadline is later.

        A call of several requests whose replica dies or falls silent raises NotAnswered: the
        batcher then calls for each request alone, as one of them may be the cause.
        """
        set_request_id(",".join([request.request_id for request in requests]))
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


def with_time_left(photos: Sequence[Timed], deadline: Deadline) -> list[Timed]:
    """Copies of the photos, faces or chips with the seconds that are left for them now."""
    return [replace(photo, time_left_s=deadline.left_s) for photo in photos]


def _payloads_now(requests: Sequence[QueuedRequest[Sequence[Timed]]]) -> list[list[Timed]]:
    """The requests' payloads with the time that is left now; each attempt computes them anew."""
    return [with_time_left(request.payload, request.deadline) for request in requests]


def bytes_of(photos: Sequence[Photo]) -> int:
    return sum(photo.nbytes for photo in photos)


def _fits_into_bytes(
    max_bytes: int,
    request: QueuedRequest[Sequence[Photo]],
    batch: Sequence[QueuedRequest[Sequence[Photo]]],
) -> bool:
    """True if the photos of a call stay within max_bytes when the request joins it."""
    return sum(bytes_of(one.payload) for one in (*batch, request)) <= max_bytes
