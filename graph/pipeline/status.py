"""What the graph is serving now: asked of the stages themselves, not of the configuration."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from configs.catalogue import CATALOGUE
from configs.graph import GraphConfig
from deployments.contracts import StageInfo
from deployments.errors import ModelUnavailable
from graph.pipeline.failures import cancel
from graph.pipeline.routing import known_replicas
from graph.pipeline.stages import Stages
from graph.schemas import ModelsResponse, ReadyResponse, ServedModel
from graph.serve_private import DeploymentStatus, ReplicaState

# How long a stage may take to say that it is there.
ANSWER_TIMEOUT_S = 2.0

# One that is being deployed, or has lost a replica, is in another status.
_AS_SCALED = (DeploymentStatus.HEALTHY, DeploymentStatus.DOWNSCALING, DeploymentStatus.UPSCALING)


@dataclass(frozen=True)
class _Stage:
    name: str
    pool: str | None
    model: str | None
    handle: DeploymentHandle[Any]

    @property
    def deployment(self) -> str:
        return self.handle.deployment_name


class GraphStatus:
    def __init__(self, config: GraphConfig, stages: Stages, app_name: str) -> None:
        self._config = config
        self._app_name = app_name
        self._slept: frozenset[str] = frozenset()
        pools = config.recognizers
        self._stages = [
            _Stage("detector", None, config.detector.model, stages.detector),
            _Stage("aligner", None, None, stages.aligner),
            *(
                _Stage("recognizer", name, pools[name].model, handle)
                for name, handle in stages.recognizers.items()
            ),
            _Stage("aggregator", None, None, stages.aggregator),
        ]
        # /readyz takes no key: however many ask, the stages are asked once at a time.
        self._answers = SingleFlight(self._ask_all)

    async def ready(self) -> ReadyResponse:
        """Raises ModelUnavailable, naming the stages that no replica answers for."""
        asleep, answers = await asyncio.gather(self._asleep(), self._answers.answer())
        silent = [
            stage.pool or stage.name
            for stage, answer in zip(self._stages, answers, strict=True)
            if answer is None and stage.deployment not in asleep
        ]
        if silent:
            raise ModelUnavailable(f"not ready: {', '.join(silent)}", stages=silent)
        missing = [
            stage.pool
            for stage, answer in zip(self._stages, answers, strict=True)
            if stage.pool and answer and answer.unavailable
        ]
        return ReadyResponse(status="ok", unavailable_recognizers=missing)

    async def models(self) -> ModelsResponse:
        asleep, answers = await asyncio.gather(self._asleep(), self._answers.answer())
        return ModelsResponse(
            models=[
                self._entry(stage, answer, stage.deployment in asleep)
                for stage, answer in zip(self._stages, answers, strict=True)
            ],
            fusion=self._config.aggregator.fusion,
            default_recognizers=list(self._config.chosen_by_default),
        )

    async def _ask_all(self) -> list[StageInfo | None]:
        return list(await asyncio.gather(*(_ask(stage.handle) for stage in self._stages)))

    async def _asleep(self) -> frozenset[str]:
        """Deployments scaled to zero: what Serve's controller says, or said last if it is busy.

        The controller knows of a woken replica first: until this process does, it still sleeps.
        """
        without = {stage.deployment for stage in self._stages if not known_replicas(stage.handle)}
        self._slept &= without
        with anyio.move_on_after(ANSWER_TIMEOUT_S), suppress(RayError, RayServeException):
            if without:
                self._slept = await anyio.to_thread.run_sync(
                    _scaled_to_zero, self._app_name, self._slept, abandon_on_cancel=True
                )
        return self._slept

    def _entry(self, stage: _Stage, answer: StageInfo | None, asleep: bool) -> ServedModel:
        model = CATALOGUE[stage.model] if stage.model else None
        pool = self._config.recognizers[stage.pool] if stage.pool else None
        return ServedModel(
            stage=stage.name,
            pool=stage.pool,
            deployment=stage.deployment,
            model=stage.model,
            title=model.title if model else None,
            modelscope=model.modelscope if model else None,
            licence=model.licence if model else None,
            threshold=pool.decision_threshold if pool else None,
            threshold_source=pool.threshold_source if pool else None,
            max_uncertainty=pool.max_uncertainty if pool else None,
            weight=self._config.aggregator.weights.get(stage.pool) if stage.pool else None,
            preset=self._config.detector.preset if stage.name == "detector" else None,
            runtime=answer.runtime if answer else None,
            device=answer.device if answer else None,
            replicas=known_replicas(stage.handle) or 0,
            available=asleep or (answer is not None and not answer.unavailable),
            unavailable_reason=_unavailable_reason(answer, asleep),
        )


async def _ask(handle: DeploymentHandle[Any]) -> StageInfo | None:
    """None from a stage without a replica, too: the question would wake one."""
    if known_replicas(handle) == 0:
        return None
    response: Any = handle.describe.remote()
    try:
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            info: StageInfo = await response
            return info
    except (Exception, asyncio.CancelledError):
        # Whatever keeps a stage from answering, it is not ready. A direct call that is cut short
        # raises a cancellation of its own, which anyio does not take for the one that it sent.
        cancel(response)
        return None


def _scaled_to_zero(app_name: str, slept: frozenset[str]) -> frozenset[str]:
    """Those, too, that a first request is just waking, of `slept` also if a replica runs."""
    app = serve.status().applications.get(app_name)
    return frozenset(
        name
        for name, deployment in (app.deployments if app else {}).items()
        if deployment.status in _AS_SCALED
        and (name in slept or not deployment.replica_states.get(ReplicaState.RUNNING))
    )


def _unavailable_reason(answer: StageInfo | None, asleep: bool) -> str | None:
    if asleep:
        return None
    return answer.unavailable if answer else "no replica answers"


T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Whoever asks while the call is under way gets its answer; one who gives up stops nobody."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._under_way: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._call())
        return await asyncio.shield(self._under_way)
