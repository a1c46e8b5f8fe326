"""Translation of Ray's and Serve's errors of a failed call into FaceGraph's own."""

from contextlib import suppress
from typing import Any, NoReturn

from grpc import StatusCode
from grpc.aio import AioRpcError
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    RayActorError,
    RayTaskError,
    RpcError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded

# gRPC's codes of a call whose replica could not be reached, or ended before it answered.
_UNANSWERED = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
_LOSSES = (
    RayActorError,
    ObjectLostError,
    LocalRayletDiedError,
    NodeDiedError,
    RpcError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)


def is_lost(error: BaseException) -> bool:
    """True if a call failed because its replica did: another replica may answer it."""
    cause = _cause(error)
    if isinstance(cause, AioRpcError):
        return cause.code() in _UNANSWERED
    if isinstance(cause, _LOSSES):
        return True
    # Serve raises a bare RayServeException for an upstream call whose replica died.
    return type(cause) is RayServeException


def as_facegraph_error(error: BaseException) -> FaceGraphError | None:
    """Return the error that the client gets, or None for a cancellation or an unexpected error."""
    cause = _cause(error)
    if isinstance(cause, FaceGraphError):
        return cause
    if isinstance(cause, TimeoutError):
        return DeadlineExceeded("the answer was not ready in time")
    if isinstance(cause, BackPressureError):
        return Overloaded("a stage's queue is full")
    if isinstance(cause, (ObjectStoreFullError, OutOfDiskError)):
        return Overloaded("the object store is full, or the disk to which it spills objects")
    if is_lost(cause):
        return replica_lost()
    return None


def replica_lost() -> ModelUnavailable:
    return ModelUnavailable("a replica of the graph was lost; try again")


def raise_known(error: BaseException) -> NoReturn:
    """Raise the error that the client gets, or the error itself if it is none of FaceGraph's."""
    known = as_facegraph_error(error)
    try:
        if known is None or known is error:
            raise error
        raise known from error
    finally:
        # They would refer to themselves through this frame, and keep the objects of their calls
        # until the next garbage collection.
        del known, error


def lost_actor(error: BaseException) -> RayActorError | None:
    """The loss of a replica, or of its connection, that made a call fail."""
    cause = _cause(error)
    return cause if isinstance(cause, RayActorError) else None


def _cause(error: BaseException) -> BaseException:
    """The error that a replica raised, taken out of Ray's wrappers around it."""
    while isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    return error


def cancel(response: Any) -> None:
    """Cancel a call. Serve's own `cancel` raises the call's error, which is ignored here."""
    with suppress(Exception):
        response.cancel()
