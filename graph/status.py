"""What the graph is serving now: asked of the stages themselves, not of the configuration."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from ray import serve
from ray.serve._private.common import ReplicaState
from ray.serve.handle import DeploymentHandle

from configs.graph import GraphConfig
from deployments.contracts import StageInfo
from deployments.errors import ModelUnavailable
from deployments.models import CATALOGUE
from graph.failures import cancel
from graph.pipeline import Stages
from graph.schemas import ModelsResponse, ReadyResponse, ServedModel

# How long a stage may take to say that it is there.
ANSWER_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class _Stage:
    name: str
    pool: str | None
    model: str | None
    handle: DeploymentHandle[Any]


class GraphStatus:
    def __init__(self, config: GraphConfig, stages: Stages, app_name: str) -> None:
        self._config = config
        self._app_name = app_name
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

    async def ready(self) -> ReadyResponse:
        """Raises ModelUnavailable, naming the stages that no replica answers for."""
        answers = await self._ask_all()
        silent = [
            stage.pool or stage.name
            for stage, answer in zip(self._stages, answers, strict=True)
            if answer is None
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
        answers, replicas = await asyncio.gather(
            self._ask_all(), asyncio.to_thread(_running_replicas, self._app_name)
        )
        return ModelsResponse(
            models=[
                self._entry(stage, answer, replicas)
                for stage, answer in zip(self._stages, answers, strict=True)
            ],
            default_recognizers=list(self._config.chosen_by_default),
        )

    async def _ask_all(self) -> list[StageInfo | None]:
        return list(await asyncio.gather(*(_ask(stage.handle) for stage in self._stages)))

    def _entry(
        self, stage: _Stage, answer: StageInfo | None, replicas: Mapping[str, int]
    ) -> ServedModel:
        model = CATALOGUE[stage.model] if stage.model else None
        pool = self._config.recognizers[stage.pool] if stage.pool else None
        deployment = stage.handle.deployment_name
        return ServedModel(
            stage=stage.name,
            pool=stage.pool,
            deployment=deployment,
            model=stage.model,
            title=model.title if model else None,
            modelscope=model.modelscope if model else None,
            licence=model.licence if model else None,
            threshold=pool.decision_threshold if pool else None,
            threshold_source=pool.threshold_source if pool else None,
            runtime=answer.runtime if answer else None,
            device=answer.device if answer else None,
            replicas=replicas.get(deployment, 0),
            available=answer is not None and not answer.unavailable,
            unavailable_reason=answer.unavailable if answer else "no replica answers",
        )


async def _ask(handle: DeploymentHandle[Any]) -> StageInfo | None:
    response: Any = handle.describe.remote()
    try:
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            info: StageInfo = await response
            return info
    except Exception:  # whatever keeps a stage from answering, it is not ready
        cancel(response)
        return None


def _running_replicas(app_name: str) -> dict[str, int]:
    app = serve.status().applications.get(app_name)
    return {
        name: deployment.replica_states.get(ReplicaState.RUNNING, 0)
        for name, deployment in (app.deployments if app else {}).items()
    }
