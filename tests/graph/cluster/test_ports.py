"""The ports of a node besides HTTP refuse callers from outside the cluster."""

import socket

import grpc
import pytest
import ray

from graph.cluster.launch import RunningGraph
from graph.serve_private import ReplicaState
from tests.support.ray_private import DeploymentID, init_grpc_channel, serve_client
from tests.support.waiting import TIMEOUT_S

HANDLE = "/ray.serve.ASGIService/HandleRequest"


def test_replicas_take_messages_of_their_own_cluster_only(running: RunningGraph) -> None:
    """Replicas unpickle messages on a port of all interfaces, so that Ray's token is required."""
    deployment = DeploymentID("Detector", running.app_name)
    states = ray.get(serve_client()._controller._dump_replica_states_for_testing.remote(deployment))
    address = f"127.0.0.1:{states.get([ReplicaState.RUNNING])[0]._actor._internal_grpc_port}"
    codes = []
    for channel in (grpc.insecure_channel(address), init_grpc_channel(address)):
        with channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(HANDLE)(b"", timeout=TIMEOUT_S)
        codes.append(caught.value.code())
    outsider, member = codes
    assert outsider is grpc.StatusCode.UNAUTHENTICATED
    assert member not in (outsider, grpc.StatusCode.UNAVAILABLE)  # it passed the check


def test_rays_ports_of_a_private_cluster_are_on_loopback(running: RunningGraph) -> None:
    (node,) = ray.nodes()
    names = ("NodeManagerPort", "ObjectManagerPort", "MetricsExportPort")
    for port in (int(running.address.removeprefix("127.0.0.1:")), *(node[name] for name in names)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", port))  # fails where the port is open on all interfaces
