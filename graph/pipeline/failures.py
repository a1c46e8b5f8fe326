"""Translation of Ray's and Serve's errors of a failed call into FaceGraph's own."""

from contextlib import suppress
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    RequestCancelledError,
)

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded

# The codes of a call that a replica's gRPC server, or its end, left without an answer.
_UNREACHED = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


def is_lost(error: BaseException) -> bool:
    """True if a call failed because its replica did: another replica may answer it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RayTaskError):
        return is_lost(cause)
    if isinstance(cause, AioRpcError):
        return cause.code() in _UNREACHED
    if isinstance(cause, (RayActorError, ObjectLostError, DeploymentUnavailableError)):
        return True
    # Serve raises a bare RayServeException for an upstream call whose replica died.
    return type(cause) is RayServeException


def as_facegraph_error(error: BaseException) -> FaceGraphError | None:
    """The error that the client gets, or None for an unexpected error."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, FaceGraphError):
        return cause
    if isinstance(cause, TimeoutError):
        return DeadlineExceeded("the answer was not ready in time")
    if isinstance(cause, BackPressureError):
        return Overloaded("a stage's queue is full")
    if isinstance(cause, (RequestCancelledError, TaskCancelledError)):
        return None
    if isinstance(cause, RayTaskError):
        return as_facegraph_error(cause)
    if cause is not None and is_lost(cause):
        return ModelUnavailable("a replica of the graph was lost; try again")
    return None


def cancel(response: Any) -> None:
    """Cancel a call. Serve's own `cancel` raises the call's error, which is ignored here."""
    with suppress(Exception):
        response.cancel()
