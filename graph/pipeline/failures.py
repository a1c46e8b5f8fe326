"""What Ray and Serve raise when a stage fails, as FaceGraph's own errors."""

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

# What a replica's gRPC server, or its end, says of a call that it did not answer.
_UNREACHED = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


def is_lost(error: BaseException) -> bool:
    """Whether a call failed with the replica that it was at, and another may answer it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RayTaskError):
        return is_lost(cause)
    if isinstance(cause, AioRpcError):
        return cause.code() in _UNREACHED
    if isinstance(cause, (RayActorError, ObjectLostError, DeploymentUnavailableError)):
        return True
    # Serve's word for an upstream call whose replica died: a bare RayServeException.
    return type(cause) is RayServeException


def as_facegraph_error(error: BaseException) -> FaceGraphError | None:
    """The error that a client should see, or None for one that nobody foresaw."""
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
    """Stop a call that nobody waits for any more. Serve's own raises what the call had raised."""
    with suppress(Exception):
        response.cancel()
