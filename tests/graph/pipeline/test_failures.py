"""Translation of Ray's errors: the exceptions themselves, without a cluster."""

import pytest
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayTaskError

from deployments.errors import Overloaded
from graph.pipeline.failures import as_facegraph_error

FULL = [ObjectStoreFullError("32 bytes"), OutOfDiskError("32 bytes")]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_object_store_or_disk_is_an_overload_that_says_so(error: Exception) -> None:
    in_a_stage = RayTaskError("detect", "a traceback", error)
    for raised in (error, in_a_stage, in_a_stage.as_instanceof_cause()):
        known = as_facegraph_error(raised)
        assert isinstance(known, Overloaded)
        assert known.message == "the object store is full, or the disk to which it spills objects"
