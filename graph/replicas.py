"""How many replicas of a stage this process knows of, without a question to anybody."""

from typing import Any
from weakref import WeakSet

from ray.serve._private.request_router.request_router import RequestRouter
from ray.serve.handle import DeploymentHandle

_routers: WeakSet[RequestRouter] = WeakSet()


def watch(router: RequestRouter) -> None:
    """`router` has been told its replicas, and will be of every change."""
    _routers.add(router)


def known_replicas(handle: DeploymentHandle[Any]) -> int | None:
    """None as long as Serve has told this process nothing."""
    counts = [
        len(router.curr_replicas)
        for router in list(_routers)
        if router._deployment_id == handle.deployment_id
    ]
    return max(counts, default=None)
