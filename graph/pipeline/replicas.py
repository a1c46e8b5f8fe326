"""The number of a stage's replicas, by the routers of this process.

Not in graph/pipeline/routing.py, which Serve pickles by value: a process must have one registry.
"""

from typing import Any
from weakref import WeakSet

from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RequestRouter

from graph.serve_private import deployment_of

_routers: WeakSet[RequestRouter] = WeakSet()


def register(router: RequestRouter) -> None:
    """Let `known_replicas` read a router, which Serve keeps up to date with its replicas."""
    _routers.add(router)


def routers_of(handle: DeploymentHandle[Any]) -> list[RequestRouter]:
    """The routers of a deployment in this process; none until Serve has told it the replicas."""
    return [router for router in list(_routers) if deployment_of(router) == handle.deployment_id]


def known_replicas(handle: DeploymentHandle[Any]) -> int | None:
    """The number of a deployment's running replicas, without a call.

    None until Serve has told this process its replicas.
    """
    return max((len(router.curr_replicas) for router in routers_of(handle)), default=None)
