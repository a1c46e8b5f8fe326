"""The graph's readiness and its served models, as the stages themselves report them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from configs.catalogue import Model
from configs.graph import GraphConfig
from deployments.contracts import StageInfo
from deployments.errors import ModelUnavailable
from graph.pipeline.failures import cancel
from graph.pipeline.replicas import known_replicas
from graph.pipeline.stages import Stages
from graph.schemas import ModelsResponse, PhotoLimits, ReadyResponse, ServedModel
from graph.serve_private import DeploymentStatus, ReplicaState

# Time that a stage may take to describe itself, and Serve's controller to give its status.
ANSWER_TIMEOUT_S = 2.0

# The states of a deployment that is neither being deployed nor has lost a replica.
_STABLE = (DeploymentStatus.HEALTHY, DeploymentStatus.DOWNSCALING, DeploymentStatus.UPSCALING)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _ServedStage:
    """A stage, or one recognizer pool of it. model: None for a stage without one."""

    name: str
    pool: str | None
    model: Model | None
    handle: DeploymentHandle[Any]

    @property
    def deployment(self) -> str:
        return self.handle.deployment_name


class GraphStatus:
    """The answers of /readyz and /v1/models.

    A pool that is scaled to zero counts as available, as a request starts a replica. Requests for
    the status start none.
    """

    def __init__(self, config: GraphConfig, stages: Stages, app_name: str) -> None:
        self._config = config
        self._app_name = app_name
        self._scaled_to_zero: frozenset[str] = frozenset()
        pools = config.recognizers
        self._stages = [
            _ServedStage("detector", None, config.detector.entry, stages.detector),
            _ServedStage("aligner", None, None, stages.aligner),
            *(
                _ServedStage("recognizer", name, pools[name].entry, handle)
                for name, handle in stages.recognizers.items()
            ),
            *(
                _ServedStage("classifier", name, config.classifiers[name].entry, handle)
                for name, handle in stages.classifiers.items()
            ),
            _ServedStage("aggregator", None, None, stages.aggregator),
        ]
        if stages.gallery:
            self._stages.append(_ServedStage("gallery", None, None, stages.gallery))
        # /readyz takes no API key, so any number of its requests share one call of each stage.
        self._descriptions = SingleFlight(self._describe_all)
        # Nor may two threads ask Serve at once: its `status` registers and unregisters a module,
        # and the second thread fails with a ValueError.
        self._statuses = SingleFlight(self._ask_controller)

    async def ready(self) -> ReadyResponse:
        """Raises ModelUnavailable, naming the stages without a replica that answers."""
        scaled_to_zero, answers = await self._state()
        silent = [
            stage.pool or stage.name
            for stage, answer in zip(self._stages, answers, strict=True)
            if answer is None and stage.deployment not in scaled_to_zero
        ]
        if silent:
            raise ModelUnavailable(f"not ready: {', '.join(silent)}", stages=silent)
        missing = [
            stage
            for stage, answer in zip(self._stages, answers, strict=True)
            if answer and answer.unavailable
        ]
        return ReadyResponse(
            status="ok",
            unavailable_recognizers=_pools(missing, "recognizer"),
            unavailable_classifiers=_pools(missing, "classifier"),
        )

    async def models(self) -> ModelsResponse:
        scaled_to_zero, answers = await self._state()
        limits = self._config.image_limits
        return ModelsResponse(
            models=[
                self._entry(stage, answer, stage.deployment in scaled_to_zero)
                for stage, answer in zip(self._stages, answers, strict=True)
            ],
            fusion=self._config.aggregator.fusion,
            default_recognizers=list(self._config.chosen_by_default),
            photo_limits=PhotoLimits(max_bytes=limits.max_bytes, max_pixels=limits.max_pixels),
        )

    async def _state(self) -> tuple[frozenset[str], list[StageInfo | None]]:
        """The deployments that are scaled to zero, and each stage's answer."""
        scaled_to_zero, answers = await asyncio.gather(
            self._find_scaled_to_zero(), self._descriptions.answer()
        )
        return scaled_to_zero, answers

    async def _describe_all(self) -> list[StageInfo | None]:
        return await asyncio.gather(*(_describe(stage.handle) for stage in self._stages))

    async def _find_scaled_to_zero(self) -> frozenset[str]:
        """The deployments that are scaled to zero, by the last answer of Serve's controller.

        The controller is asked now; if it is too busy to answer, its last answer counts. It learns
        of a new replica before this process does: until this process does, the deployment counts as
        scaled to zero.
        """
        empty = {stage.deployment for stage in self._stages if not known_replicas(stage.handle)}
        self._scaled_to_zero &= empty
        with anyio.move_on_after(ANSWER_TIMEOUT_S), suppress(RayError, RayServeException):
            if empty:
                self._scaled_to_zero = await self._statuses.answer()
        return self._scaled_to_zero

    async def _ask_controller(self) -> frozenset[str]:
        return await anyio.to_thread.run_sync(
            _find_without_replica, self._app_name, self._scaled_to_zero
        )

    def _entry(
        self, stage: _ServedStage, answer: StageInfo | None, scaled_to_zero: bool
    ) -> ServedModel:
        model = stage.model
        pool = None
        if stage.name == "recognizer" and stage.pool:
            pool = self._config.recognizers[stage.pool]
        unavailable_reason = None if scaled_to_zero else _unavailable_reason(answer)
        return ServedModel(
            stage=stage.name,
            pool=stage.pool,
            deployment=stage.deployment,
            model=model.id if model else None,
            version=answer.version if answer else None,
            title=model.title if model else None,
            modelscope=model.modelscope if model else None,
            licence=model.licence if model else None,
            commercial_use=model.commercial_use if model else None,
            embedding_size=pool.entry.embedding_size if pool else None,
            labels=list(model.classification.labels) if model and model.classification else None,
            threshold=pool.decision_threshold if pool else None,
            threshold_source=pool.threshold_source if pool else None,
            max_uncertainty=pool.max_uncertainty if pool else None,
            min_quality=pool.lowest_quality if pool else None,
            weight=self._config.aggregator.weights.get(stage.pool) if stage.pool else None,
            preset=self._config.detector.preset if stage.name == "detector" else None,
            runtime=answer.runtime if answer else None,
            device=answer.device if answer else None,
            precision=answer.precision if answer else None,
            reason=answer.reason if answer else None,
            replicas=known_replicas(stage.handle) or 0,
            available=not unavailable_reason,
            unavailable_reason=unavailable_reason,
        )


def _pools(stages: Iterable[_ServedStage], name: str) -> list[str]:
    return [stage.pool for stage in stages if stage.pool and stage.name == name]


async def _describe(handle: DeploymentHandle[Any]) -> StageInfo | None:
    """The stage's own description, or None if it does not answer.

    A stage without a replica is not called, as the call would start one.
    """
    if known_replicas(handle) == 0:
        return None
    response: Any = handle.describe.remote()
    try:
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            info: StageInfo = await response
            return info
    except (Exception, asyncio.CancelledError):
        # Any failure means that the stage is not ready. A direct call that the timeout interrupts
        # raises a cancellation of its own, which anyio does not take for the timeout's.
        cancel(response)
        return None


def _find_without_replica(app_name: str, before: frozenset[str]) -> frozenset[str]:
    """The deployments without a running replica, also if a first request is starting one.

    A deployment of `before` stays in the answer even if a replica runs.
    """
    app = serve.status().applications.get(app_name)
    return frozenset(
        name
        for name, deployment in (app.deployments if app else {}).items()
        if deployment.status in _STABLE
        and (name in before or not deployment.replica_states.get(ReplicaState.RUNNING))
    )


def _unavailable_reason(answer: StageInfo | None) -> str | None:
    return answer.unavailable if answer else "no replica answers"


class SingleFlight(Generic[Answer]):
    """A call that concurrent callers share while it runs, with its answer or error.

    A cancelled caller does not cancel the call.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._call = call
        self._running: asyncio.Task[Answer] | None = None

    async def answer(self) -> Answer:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._call())
        return await asyncio.shield(self._running)
