"""Service times from counters; tests/graph/test_own_models.py measures a running graph."""

import pytest

from deployments.errors import ModelUnavailable
from graph.cluster.measurement import lowest_differences


def test_a_round_in_which_a_replica_was_replaced_is_left_out() -> None:
    readings = [{"a": 5.0, "b": 1.0}, {"a": 0.5, "b": 1.1}, {"a": 1.5, "b": 2.0}]
    assert lowest_differences(readings) == pytest.approx({"a": 1.0, "b": 0.9})
    with pytest.raises(ModelUnavailable, match=r"^a was replaced while"):
        lowest_differences(readings[:2])
