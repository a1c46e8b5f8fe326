"""Faults of a running graph: replicas that die, hang or fail their health check."""

import asyncio
import math
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray

from tests.support.ray_private import SERVE_NAMESPACE, deployments_of


@dataclass(frozen=True)
class Replica:
    """A running replica on this machine: the name of its actor, and its process."""

    name: str
    pid: int

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process for the block: its connections stay open, and it answers nothing.
        Afterwards it goes on, unless Serve has ended it meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def fail_health_checks(self) -> None:
        """Make the replica's canary raise from now on, as if its GPU were lost."""
        actor: Any = ray.get_actor(self.name, namespace=SERVE_NAMESPACE)
        ray.get(actor.__ray_call__.remote(_break_canary))


def replicas(deployment: str, app_name: str) -> list[Replica]:
    """The running replicas of a deployment."""
    details = deployments_of(app_name).get(deployment, {"replicas": []})
    return [
        Replica(one["actor_name"], one["pid"])
        for one in details["replicas"]
        if one["state"] == "RUNNING"
    ]


def one_replica(deployment: str, app_name: str) -> Replica:
    return random.choice(replicas(deployment, app_name))


async def replaced(
    lost: Replica, deployment: str, app_name: str, *, within_s: float = math.inf
) -> None:
    """Wait until the deployment runs without the lost replica. Raises TimeoutError."""
    until = time.perf_counter() + within_s
    while time.perf_counter() < until:
        found = await asyncio.to_thread(replicas, deployment, app_name)
        if found and all(one.name != lost.name for one in found):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{deployment} was not replaced within {within_s:g} s")


def _break_canary(actor: Any) -> None:
    async def failing() -> None:
        raise RuntimeError("the canary was not answered")

    actor._replica_impl._user_callable_wrapper._user_health_check = failing
