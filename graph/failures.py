"""What Ray and Serve raise when a stage fails, as FaceGraph's own errors."""

from contextlib import suppress
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    RequestCancelledError,
)

from deployments.errors import DeadlineExceeded, FaceGraphError, ModelUnavailable, Overloaded


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
    if isinstance(cause, (RayActorError, ObjectLostError, DeploymentUnavailableError)):
        return ModelUnavailable("a replica of the graph was lost; try again")
    # Serve's word for an upstream call whose replica died: a bare RayServeException.
    if type(cause) is RayServeException:
        return ModelUnavailable("a stage of the graph cannot be reached; try again")
    return None


def cancel(response: Any) -> None:
    """Stop a call that nobody waits for any more. Serve's own raises what the call had raised."""
    with suppress(Exception):
        response.cancel()
