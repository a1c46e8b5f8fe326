"""One recognizer pool's replicas: chips in, embeddings out."""

from typing import Any

import numpy as np
from ray import serve

from configs.model import BatchingConfig
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Embeddings, FaceChips, StageInfo
from deployments.recognizer.recognizer import CHIP_SHAPE, recognizer_from
from deployments.runtime.workers import Stopwatch, Workers

CANARY = np.zeros((1, *CHIP_SHAPE), np.uint8)


@serve.deployment(name="Recognizer")
class RecognizerDeployment:
    """One class for every pool; the name it is bound with tells the pools apart."""

    def __init__(self, name: str, config: RecognizerConfig) -> None:
        self._name = name
        self._recognizer = recognizer_from(config, name=name)
        self._workers = Workers(config.workers)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        batching = BatchingConfig.model_validate(user_config)
        self._embed.set_max_batch_size(batching.max_batch_size)
        self._embed.set_batch_wait_timeout_s(batching.batch_wait_timeout_s)

    async def check_health(self) -> None:
        await self._workers.run(self._recognizer.embed, CANARY)

    def describe(self) -> StageInfo:
        backend = self._recognizer.backend
        return StageInfo(
            f"recognizer:{self._name}", self._recognizer.model.id, backend.runtime, backend.device
        )

    async def embed(self, chips: FaceChips) -> Embeddings:
        """Embeddings of one photo's chips, in their order."""
        watch = Stopwatch(f"recognize:{self._name}", chips.field)
        found = await self._embed(chips.pixels)
        return Embeddings(
            found.vectors, found.uncertainty, self._name, (*chips.spans, watch.stop())
        )

    @serve.batch(max_concurrent_batches=64)
    async def _embed(self, requests: list[ByteArray]) -> list[Embeddings]:
        return await self._workers.run(self._recognizer.embed_many, requests)
