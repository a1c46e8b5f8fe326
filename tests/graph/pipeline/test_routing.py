"""The router counts a replica's outstanding calls, in every process that calls, and leaves out
replicas that hang."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.contracts import Photo
from deployments.replica.groups import in_parts
from graph.cluster.launch import RunningGraph
from graph.pipeline import replicas
from graph.pipeline.replicas import routers_of
from graph.pipeline.routing import LeastOutstandingRequests, router
from tests.support.photos import PLAYERS, photo_bytes
from tests.support.ray_private import DeploymentHandleSource, DeploymentID, ReplicaID
from tests.support.stages import stages_of
from tests.support.waiting import wait_until_async

CALLS = 12


def counted(handle: DeploymentHandle[Any]) -> int:
    """Outstanding calls of the deployment, by this process's routers."""
    routers = routers_of(handle)
    assert routers
    return sum(
        router.replica_queue_len_cache.get(one) or 0
        for router in routers
        for one in router.curr_replicas
    )


def test_cancelled_calls_are_not_counted_any_more(running: RunningGraph) -> None:
    detect = stages_of(running.app_name).methods().detect
    photos = [Photo("image", photo_bytes(PLAYERS))] * 5  # so that no call is answered soon

    def send() -> Any:
        return detect.remote(*in_parts([photos]), crops=False)

    async def give_up() -> None:
        await send()
        responses = [send() for _ in range(CALLS)]
        await wait_until_async(lambda: counted(detect) == CALLS)
        for response in responses:
            response.cancel()
        await wait_until_async(lambda: counted(detect) == 0)
        await send()
        await wait_until_async(lambda: counted(detect) == 0)

    asyncio.run(give_up())


@dataclass(frozen=True)
class StandInReplica:
    """A replica that answers the router's probes, and nothing else."""

    replica_id: ReplicaID
    max_ongoing_requests: int = 8
    node_id: str = "node"
    availability_zone: str | None = None
    multiplexed_model_ids: frozenset[str] = frozenset()

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return 0


def test_all_replicas_that_are_not_ejected_get_calls_alike() -> None:
    deployment = DeploymentID("stage", "app")
    replicas: list[Any] = [StandInReplica(ReplicaID(str(i), deployment)) for i in range(10)]

    async def chosen() -> Counter[str]:
        kind: Any = LeastOutstandingRequests  # Serve's constructor has no types
        router = kind(
            deployment_id=deployment,
            handle_source=DeploymentHandleSource.UNKNOWN,
            use_replica_queue_len_cache=True,
        )
        router.initialize_state(hedge_after_s=0.2)
        router.update_replicas(replicas)
        await asyncio.sleep(0.05)  # for the probes of new replicas
        for hanging in replicas[:7]:
            router.on_send_request(hanging.replica_id)
        await asyncio.sleep(0.25)
        random.seed(0)
        ranks = [await router.choose_replicas(replicas) for _ in range(600)]
        return Counter(one.replica_id.unique_id for (rank,) in ranks for one in rank)

    counts = asyncio.run(chosen())
    assert set(counts) == {"7", "8", "9"}
    assert min(counts.values()) > 0.8 * max(counts.values())


def test_a_router_as_serve_sends_it_registers_with_this_process() -> None:
    """Serve pickles the router's module by value: a registry in it would be a copy."""
    sent: Any = router(hedge_after_s=1.0).get_request_router_class()
    assert sent.update_replicas.__globals__["register"] is replicas.register
