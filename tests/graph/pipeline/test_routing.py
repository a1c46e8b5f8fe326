"""Which replica a call goes to is decided by the calls that are really under way."""

import asyncio
from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RequestRouter

from deployments.contracts import Photo
from graph.cluster.launch import RunningGraph
from graph.pipeline import routing
from graph.serve_private import deployment_of
from tests.support.photos import PLAYERS, photo_bytes
from tests.support.stages import stages_of
from tests.support.waiting import wait_until

CALLS = 12


def counted(handle: DeploymentHandle[Any]) -> int:
    """Calls that this process's routers believe to be at the deployment's routing."""
    routers: list[RequestRouter] = [
        router for router in routing._routers if deployment_of(router) == handle.deployment_id
    ]
    assert routers
    return sum(
        router.replica_queue_len_cache.get(one) or 0
        for router in routers
        for one in router.curr_replicas
    )


async def until(reached: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, reached, timeout_s=5)


def test_calls_that_were_given_up_are_not_counted_any_more(running: RunningGraph) -> None:
    detect = stages_of(running.app_name).methods(by_reference=False).detect
    photos = [Photo("image", photo_bytes(PLAYERS))] * 20  # so that none is soon answered

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
