"""An address at which no cluster is; tests/graph/commands/test_serve.py has clusters."""

import pytest
import ray

from deployments.errors import ModelUnavailable
from graph.client.client import FaceGraph
from graph.cluster.preflight import free_port


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:{port}", "Connection refused"), ("nonsense", "expected HOST:PORT")],
)
def test_an_address_without_a_cluster_is_named_at_once(address: str, reason: str) -> None:
    if ray.is_initialized():
        pytest.skip("this process is on the session's cluster")
    address = address.format(port=free_port())
    with pytest.raises(ModelUnavailable, match=f"no Ray cluster at {address}: .*{reason}"):
        FaceGraph.connect(address=address)
