"""Translation of Ray's errors: the exceptions themselves, without a cluster."""

import pytest
from ray.exceptions import (
    ActorDiedError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    RayError,
    RayTaskError,
    RpcError,
    WorkerCrashedError,
)
from ray.serve.exceptions import RayServeException, ReplicaUnavailableError

from deployments.errors import ModelUnavailable, Overloaded
from graph.pipeline.failures import as_facegraph_error, is_lost

FULL = [ObjectStoreFullError("32 bytes"), OutOfDiskError("32 bytes")]
LOSSES = [
    ActorDiedError(),
    OwnerDiedError("00ff", None, ""),
    LocalRayletDiedError(),
    NodeDiedError("the node is gone"),
    RpcError("the connection was reset"),
    ReplicaUnavailableError("the replica is gone"),
    RayServeException("an upstream call's replica died"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_object_store_or_disk_is_an_overload_that_says_so(error: Exception) -> None:
    in_a_stage = RayTaskError("detect", "a traceback", error)
    for raised in (error, in_a_stage, in_a_stage.as_instanceof_cause()):
        known = as_facegraph_error(raised)
        assert isinstance(known, Overloaded)
        assert known.message == "the object store is full, or the disk to which it spills objects"


@pytest.mark.parametrize("error", LOSSES, ids=lambda error: type(error).__name__)
def test_the_loss_of_a_replica_or_its_node_is_answered_with_try_again(error: Exception) -> None:
    assert is_lost(error)
    assert isinstance(as_facegraph_error(error), ModelUnavailable)


@pytest.mark.parametrize("error", [RayError("other"), WorkerCrashedError(), ValueError("other")])
def test_an_unexpected_error_stays_what_it_is(error: Exception) -> None:
    assert not is_lost(error)
    assert as_facegraph_error(error) is None
