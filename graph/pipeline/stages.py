"""The stages' handles and methods, and cold starts of pools that are scaled to zero."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.errors import ModelUnavailable
from graph.pipeline.replicas import known_replicas
from graph.serve_private import by_reference

# Time that Serve may take to tell a new process of a stage's replicas.
_FIRST_UPDATE_S = 2.0


@dataclass(frozen=True)
class Stages:
    """A handle to each stage's deployment; the recognizers' and classifiers' by pool.

    gallery: None without one.
    """

    detector: DeploymentHandle[Any]
    aligner: DeploymentHandle[Any]
    recognizers: Mapping[str, DeploymentHandle[Any]]
    aggregator: DeploymentHandle[Any]
    gallery: DeploymentHandle[Any] | None = None
    classifiers: Mapping[str, DeploymentHandle[Any]] = field(default_factory=dict)

    def methods(self) -> "Methods":
        detector, aggregator = by_reference(self.detector), by_reference(self.aggregator)
        pools = {name: by_reference(handle) for name, handle in self.recognizers.items()}
        return Methods(
            detector.detect,
            detector.detect_aligned,
            by_reference(self.aligner).align,
            {name: handle.embed for name, handle in pools.items()},
            {name: handle.embed_compared for name, handle in pools.items()},
            {name: by_reference(handle).classify for name, handle in self.classifiers.items()},
            aggregator.compare,
        )


@dataclass(frozen=True)
class Methods:
    """The stages' remote methods, by reference; the recognizers' and classifiers' by pool.

    They are kept because Serve makes a new handle whenever a method of a handle is looked up.
    """

    detect: DeploymentHandle[Any]
    detect_aligned: DeploymentHandle[Any]
    align: DeploymentHandle[Any]
    embed: Mapping[str, DeploymentHandle[Any]]
    embed_compared: Mapping[str, DeploymentHandle[Any]]
    classify: Mapping[str, DeploymentHandle[Any]]
    compare: DeploymentHandle[Any]


class ColdStarts:
    """Starts pools that are scaled to zero and reject requests until a replica has started."""

    def __init__(self, rejecting: Mapping[str, DeploymentHandle[Any]]) -> None:
        """rejecting: the pools with `cold_start: reject`."""
        self._rejecting = rejecting
        self._starting: dict[str, asyncio.Task[None]] = {}

    async def require_replicas(self, pools: Sequence[str]) -> None:
        """Raises ModelUnavailable for a rejecting pool without a replica, and starts one."""
        for pool in pools:
            handle = self._rejecting.get(pool)
            if handle is None or known_replicas(handle):
                continue
            starting = self._start(pool, handle)
            if known_replicas(handle) is None:
                await asyncio.wait({starting}, timeout=_FIRST_UPDATE_S)
            if not known_replicas(handle):
                raise ModelUnavailable(f"recognizer {pool} is starting; try again", pool=pool)

    def _start(self, pool: str, handle: DeploymentHandle[Any]) -> asyncio.Task[None]:
        """Let one call wait for a replica of the pool, which makes Serve start one."""
        starting = self._starting.get(pool)
        if starting is None or starting.done():
            starting = self._starting[pool] = asyncio.create_task(_wake(handle))
        return starting


async def _wake(handle: DeploymentHandle[Any]) -> None:
    with suppress(Exception):  # the next request calls again
        await handle.describe.remote()
