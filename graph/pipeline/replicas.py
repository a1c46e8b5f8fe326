"""Registry of this process's routers, which know their stage's replicas without a call.

It is not in graph/pipeline/routing.py, as Serve pickles that module by value, and each copy would
have a registry of its own.
"""

from typing import Any
from weakref import WeakSet

from ray.exceptions import ActorUnavailableError, RayActorError
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RequestRouter

from graph.serve_private import deployment_of

_routers: WeakSet[RequestRouter] = WeakSet()


def register(router: RequestRouter) -> None:
    """Add a router. Serve keeps it up to date with the replicas of its deployment."""
    _routers.add(router)


def report_loss(error: RayActorError) -> None:
    """Let no router of this process send further calls to the replica that is lost.

    A replica that is only out of reach is asked first.
    """
    for router in list(_routers):
        for replica_id, replica in list(router.curr_replicas.items()):
            if replica.actor_id.hex() != error.actor_id:
                continue
            if isinstance(error, ActorUnavailableError):
                router.on_replica_actor_unavailable(replica_id)
            else:
                router.on_replica_actor_died(replica_id)


def routers_of(handle: DeploymentHandle[Any]) -> list[RequestRouter]:
    """The deployment's routers in this process; none until Serve has told it the replicas."""
    return [router for router in list(_routers) if deployment_of(router) == handle.deployment_id]


def known_replicas(handle: DeploymentHandle[Any]) -> int | None:
    """Number of a deployment's running replicas; None until Serve has told this process of them."""
    return max((len(router.curr_replicas) for router in routers_of(handle)), default=None)
