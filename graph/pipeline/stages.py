"""The handles to the stages of the graph."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.errors import ModelUnavailable
from graph import serve_private
from graph.pipeline.routing import known_replicas


@dataclass(frozen=True)
class Stages:
    """A handle to each deployment of the graph."""

    detector: DeploymentHandle[Any]
    aligner: DeploymentHandle[Any]
    recognizers: Mapping[str, DeploymentHandle[Any]]
    aggregator: DeploymentHandle[Any]

    def methods(self, *, by_reference: bool) -> "Methods":
        """Their methods, whose answers travel through the object store, or as messages."""

        edge = serve_private.by_reference if by_reference else serve_private.by_value
        detector, aggregator = edge(self.detector), edge(self.aggregator)
        recognizers = {name: edge(handle) for name, handle in self.recognizers.items()}
        return Methods(
            detector.detect,
            detector.detect_many,
            edge(self.aligner).align,
            {name: handle.embed for name, handle in recognizers.items()},
            {name: handle.embed_many for name, handle in recognizers.items()},
            aggregator.compare,
            aggregator.compare_many,
        )


@dataclass(frozen=True)
class Methods:
    """What the pipeline calls. Made once, as Serve makes a handle each time that a handle is asked
    for one of its methods."""

    detect: DeploymentHandle[Any]
    detect_many: DeploymentHandle[Any]
    align: DeploymentHandle[Any]
    embed: Mapping[str, DeploymentHandle[Any]]
    embed_many: Mapping[str, DeploymentHandle[Any]]
    compare: DeploymentHandle[Any]
    compare_many: DeploymentHandle[Any]


# How long Serve may take to tell a new process which replicas there are.
_FIRST_NEWS_S = 2.0


class ColdStarts:
    def __init__(self, rejecting: Mapping[str, DeploymentHandle[Any]]) -> None:
        """rejecting: the pools with `cold_start: reject`."""
        self._rejecting = rejecting
        self._waking: dict[str, asyncio.Task[None]] = {}

    async def require_replicas(self, pools: Sequence[str]) -> None:
        """Raises ModelUnavailable for a rejecting pool without a replica, and has one started."""
        for pool in pools:
            handle = self._rejecting.get(pool)
            if handle is None or known_replicas(handle):
                continue
            waking = self._wake(pool, handle)
            if known_replicas(handle) is None:
                await asyncio.wait({waking}, timeout=_FIRST_NEWS_S)
            if not known_replicas(handle):
                raise ModelUnavailable(f"recognizer {pool} is starting; try again", pool=pool)

    def _wake(self, pool: str, handle: DeploymentHandle[Any]) -> asyncio.Task[None]:
        """A call that waits for a replica is what makes Serve start one; one at a time will do."""
        waking = self._waking.get(pool)
        if waking is None or waking.done():
            waking = self._waking[pool] = asyncio.create_task(_call(handle))
        return waking


async def _call(handle: DeploymentHandle[Any]) -> None:
    with suppress(Exception):  # the next request calls again
        await handle.describe.remote()
