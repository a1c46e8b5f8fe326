"""Chains of calls through the stages, which several requests share.

    photos --Detector--> faces and crops --Aligner--> chips --Recognizer--> embeddings
    source's and target's embeddings --Aggregator--> similarities and the decision
    faces and chips with margin --Classifier--> scores, beside all that

With `calls.in_process_stages` the detector's replica aligns, and a lone pool's replica compares:

    photos --Detector--> chips --Recognizer--> similarities and the decision

Requests that arrive while no worker of the detector is free go through all stages together, as one
group: one object from stage to stage, in which each request has a slot. A call costs many times as
much as the small photo's data that it carries.

The whole chain is sent at once. Each stage's answer goes to the next stage by reference, as a
top-level argument, for a reference inside an answer may be freed before the next stage has taken
it. Only the chain's end is awaited and unpickled here. A stage's error is the value of its
request's slot, so that the others of the group go on.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from configs.graph import GraphConfig
from deployments.contracts import (
    Classes,
    Comparison,
    DetectedPhoto,
    Embeddings,
    Photo,
    Rules,
)
from deployments.errors import FaceGraphError
from deployments.replica.batches import DynamicBatcher, HasRoom, RunningBatches
from deployments.replica.deadline import Deadline
from deployments.replica.groups import Slot, all_or_error, in_parts
from deployments.replica.metrics import BatchMetrics
from graph.pipeline.failures import raise_known
from graph.pipeline.replicas import known_replicas
from graph.pipeline.retries import Attempt, Retries
from graph.pipeline.stages import Stages
from graph.serve_private import current_request_id, set_request_id, until_answered

Answer = TypeVar("Answer")
Names = Collection[str]
Groups = Sequence[Slot[Any]]


@dataclass(frozen=True, slots=True)
class Classified(Generic[Answer]):
    """A request's answer, and its faces' scores by classifier, then by photo."""

    answer: Answer
    classes: Sequence[Sequence[Classes]]

    def of_photo(self, index: int) -> list[Classes]:
        """One photo's scores by each classifier."""
        return [photos[index] for photos in self.classes]


@dataclass
class QueuedRequest:
    """What one request asks of the stages.

    pools: the recognizers that embed its faces; none of a request for the faces alone. rules: of a
    comparison, by pool; else None. is_detecting: true until the detector has answered. classifiers:
    those that judge the faces, for which the photos name the areas.
    """

    photos: Sequence[Photo]
    pools: tuple[str, ...]
    rules: Rules | None
    deadline: Deadline
    classifiers: tuple[str, ...] = ()
    request_id: str = field(default_factory=current_request_id)
    is_detecting: bool = True

    @property
    def way(self) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
        """The stages that it goes through."""
        return self.rules is None, self.pools, self.classifiers

    def photos_now(self) -> list[Photo]:
        """The photos with the time that is left for them now."""
        return [replace(photo, time_left_s=self.deadline.left_s) for photo in self.photos]


def free_worker(detector: DeploymentHandle[Any], *, workers: int) -> HasRoom:
    """A `has_room` that lets a group start while a worker of the detector is free.

    It knows of this process's calls only. A group keeps one worker busy per photo until the
    detector has answered it, but no more workers than one replica has. workers: of one replica.
    """

    def photos(group: Sequence[Any]) -> int:
        return sum(
            len(queued.item.photos)
            for queued in group
            if queued.item.is_detecting and not queued.future.done()
        )

    def has_room(running: RunningBatches) -> bool:
        busy = sum(min(workers, photos(group)) for group in running)
        return busy < workers * (known_replicas(detector) or 1)

    return has_room


def _room_for_groups(stages: Stages, config: GraphConfig) -> HasRoom:
    """Requests with calls of their own are sent at once: Serve's autoscaling counts calls."""
    if config.calls.max_requests_per_call == 1:
        return lambda running: True
    return free_worker(stages.detector, workers=config.detector.workers)


class SharedCalls:
    """The chains of one ingress replica, shared by its requests.

    Each method returns or raises the answer to this request. ModelUnavailable, Overloaded and
    DeadlineExceeded may stand for all requests of a group. A cancelled request leaves the queue; a
    group's calls are cancelled once all of its requests are.
    """

    def __init__(
        self,
        config: GraphConfig,
        stages: Stages,
        retries: Retries,
        metrics: BatchMetrics | None = None,
    ) -> None:
        self._methods = stages.methods()
        self._in_process_stages = config.calls.in_process_stages
        self._retries = retries
        self._timeout_s = config.request_limits.timeout_s
        self._most_bytes = config.calls.inline_up_to_bytes
        self._watching: set[asyncio.Task[None]] = set()
        # Requests of the same event-loop iteration share a group; the first waits for no second.
        self._batcher: DynamicBatcher[QueuedRequest, Any] = DynamicBatcher(
            self._answer,
            has_room=_room_for_groups(stages, config),
            max_batch_size=config.calls.max_requests_per_call,
            fits=self._fits,
            schedule=lambda start: asyncio.get_running_loop().call_soon(start),
            on_batch_start=partial(metrics.started, "group") if metrics else None,
        )

    async def detect(
        self, photos: Sequence[Photo], deadline: Deadline, classifiers: Names = ()
    ) -> Classified[list[DetectedPhoto]]:
        """One DetectedPhoto for each photo, without crops."""
        return await self._submit(QueuedRequest(photos, (), None, deadline, tuple(classifiers)))

    async def embed(
        self,
        photos: Sequence[Photo],
        pools: Names,
        deadline: Deadline,
        classifiers: Names = (),
    ) -> Classified[list[list[Embeddings]]]:
        """The embeddings by pool, then by photo."""
        return await self._submit(
            QueuedRequest(photos, tuple(pools), None, deadline, tuple(classifiers))
        )

    async def compare(
        self, photos: Sequence[Photo], rules: Rules, deadline: Deadline, classifiers: Names = ()
    ) -> Classified[Comparison]:
        """photos: the source and the target. rules: by pool."""
        return await self._submit(
            QueuedRequest(photos, tuple(rules), rules, deadline, tuple(classifiers))
        )

    async def _submit(self, request: QueuedRequest) -> Classified[Any]:
        answer: Classified[Any] = await self._batcher.submit(request, request.deadline)
        return answer

    def _fits(self, request: QueuedRequest, group: Sequence[QueuedRequest]) -> bool:
        """True if the request goes the group's way, and its photos fit into the call."""
        photos = [photo for one in (*group, request) for photo in one.photos]
        return request.way == group[0].way and bytes_of(photos) <= self._most_bytes

    async def _answer(self, group: Sequence[QueuedRequest]) -> Sequence[Slot[Any]]:
        """Send a chain for all requests, within `timeout_s`: no request's deadline is later.

        A chain of several requests of which a replica dies or falls silent raises NotAnswered: the
        batcher then sends a chain for each request alone, as one of them may be the cause.
        """
        set_request_id(",".join([request.request_id for request in group]))
        send = partial(self._sent, group)
        try:
            with anyio.fail_after(self._timeout_s):
                if len(group) > 1:
                    return await self._retries.answer_once(send)
                return await self._retries.answer(send)
        except Exception as error:
            raise_known(error)

    async def _sent(self, group: Sequence[QueuedRequest], attempt: Attempt) -> Sequence[Slot[Any]]:
        detected = self._detected(attempt, group)
        self._watch(detected, group)
        classified = self._classified(attempt, detected, group[0].classifiers)
        answered, *classes = await asyncio.gather(
            self._answered(attempt, detected, group), *classified
        )
        return [_classified(slots) for slots in zip(answered, *classes, strict=True)]

    async def _answered(
        self,
        attempt: Attempt,
        detected: DeploymentResponse[Groups],
        group: Sequence[QueuedRequest],
    ) -> Groups:
        pools, rules = group[0].pools, [request.rules for request in group]
        if not pools:
            return await detected
        chips = self._chips(attempt, detected, group[0])
        is_comparison = group[0].rules is not None
        compared: DeploymentResponse[Groups]
        if is_comparison and self._in_process_stages and len(pools) == 1:
            compared = attempt.send(self._methods.embed_compared[pools[0]], rules, chips)
            return await compared
        embedded = [attempt.send(self._methods.embed[pool], chips) for pool in pools]
        if is_comparison:
            compared = attempt.send(self._methods.compare, rules, *embedded)
            return await compared
        pools_of = zip(*await asyncio.gather(*embedded), strict=True)
        return [all_or_error(slots) for slots in pools_of]

    def embeddings(
        self,
        attempt: Attempt,
        photo: Photo,
        pool: str,
        deadline: Deadline,
        classifiers: Names = (),
    ) -> tuple[DeploymentResponse[Groups], list[DeploymentResponse[Groups]]]:
        """Send a photo through the stages to a recognizer and to classifiers, without awaiting a
        stage: a group of one."""
        request = QueuedRequest([photo], (pool,), None, deadline, tuple(classifiers))
        detected = self._detected(attempt, [request])
        chips = self._chips(attempt, detected, request)
        embedded = attempt.send(self._methods.embed[pool], chips)
        return embedded, self._classified(attempt, detected, classifiers)

    def _aligns_in_process(self, request: QueuedRequest) -> bool:
        """True if the detector's replica aligns. Classifiers need its crops."""
        return self._in_process_stages and bool(request.pools) and not request.classifiers

    def _detected(
        self, attempt: Attempt, group: Sequence[QueuedRequest]
    ) -> DeploymentResponse[Groups]:
        """Small photos travel in the call itself, large ones through the object store."""
        photos = [request.photos_now() for request in group]
        are_small = bytes_of([one for request in photos for one in request]) <= self._most_bytes
        parts: Sequence[Any] = in_parts(photos) if are_small else [photos]
        if self._aligns_in_process(group[0]):
            return attempt.send(self._methods.detect_aligned, *parts)
        return attempt.send(self._methods.detect, *parts, crops=bool(group[0].pools))

    def _chips(
        self, attempt: Attempt, detected: DeploymentResponse[Groups], request: QueuedRequest
    ) -> DeploymentResponse[Groups]:
        """request: one of the group, which all go the same way."""
        if self._aligns_in_process(request):
            return detected
        return attempt.send(self._methods.align, detected)

    def _classified(
        self, attempt: Attempt, detected: DeploymentResponse[Groups], classifiers: Names
    ) -> list[DeploymentResponse[Groups]]:
        return [attempt.send(self._methods.classify[name], detected) for name in classifiers]

    def _watch(self, detected: DeploymentResponse[Groups], group: Sequence[QueuedRequest]) -> None:
        """Let further groups start once the detector has answered this one."""

        async def watch() -> None:
            try:
                await until_answered(detected)
            finally:
                for request in group:
                    request.is_detecting = False
                self._batcher.wake()

        watching = asyncio.create_task(watch())
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)


def _classified(slots: Sequence[Slot[Any]]) -> Slot[Classified[Any]]:
    """One request's answer and its classes by pool, or the first error among them."""
    found = all_or_error(slots)
    if isinstance(found, FaceGraphError):
        return found
    answer, *classes = found
    return Classified(answer, classes)


def bytes_of(photos: Sequence[Photo]) -> int:
    return sum(photo.nbytes for photo in photos)
