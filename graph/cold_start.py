"""Requests for a pool that has no replica, where the configuration would not let them wait."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.errors import ModelUnavailable
from graph.replicas import known_replicas

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
