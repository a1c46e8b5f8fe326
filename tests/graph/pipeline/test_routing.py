"""The router counts a replica's outstanding calls, in every process that calls."""

import asyncio
from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.contracts import Photo
from graph.cluster.launch import RunningGraph
from graph.pipeline import replicas
from graph.pipeline.replicas import routers_of
from graph.pipeline.routing import router
from tests.support.photos import PLAYERS, photo_bytes
from tests.support.stages import stages_of
from tests.support.waiting import wait_until

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


async def until(reached: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, reached, timeout_s=5)


def test_cancelled_calls_are_not_counted_any_more(running: RunningGraph) -> None:
    detect = stages_of(running.app_name).methods(by_reference=False).detect
    photos = [Photo("image", photo_bytes(PLAYERS))] * 20  # so that no call is answered soon

    def send() -> Any:
        return detect.remote(photos, crops=False)

    async def give_up() -> None:
        await send()
        responses = [send() for _ in range(CALLS)]
        await until(lambda: counted(detect) == CALLS)
        for response in responses:
            response.cancel()
        await until(lambda: counted(detect) == 0)
        await send()
        await until(lambda: counted(detect) == 0)

    asyncio.run(give_up())


def test_a_router_as_serve_sends_it_registers_with_this_process() -> None:
    """Serve pickles the router's module by value: a registry in it would be a copy."""
    sent: Any = router(hedge_after_s=1.0).get_request_router_class()
    assert sent.update_replicas.__globals__["register"] is replicas.register
