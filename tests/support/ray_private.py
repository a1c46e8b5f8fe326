"""The private names of Ray 2.60 that tests and benchmarks use; no other file of theirs has any."""

from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.internal_api import get_memory_info_reply, get_state_from_address, node_stats
from ray.serve import context
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    ReplicaID,
    TimeStampedValue,
)
from ray.serve._private.constants import SERVE_NAMESPACE
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

__all__ = [
    "SERVE_NAMESPACE",
    "BackendConfig",
    "DeploymentHandleSource",
    "DeploymentID",
    "HAProxyApi",
    "HAProxyConfig",
    "HTTPOptions",
    "ReplicaID",
    "ServerConfig",
    "TimeStampedValue",
    "deployments_of",
    "get_memory_info_reply",
    "get_state_from_address",
    "init_grpc_channel",
    "logs_folder",
    "node_stats",
    "referenced_objects",
    "serve_client",
]


def serve_client() -> Any:
    """Serve's client of the running cluster."""
    client = context._get_global_client()
    assert client is not None
    return client


def deployments_of(app_name: str) -> dict[str, Any]:
    """Serve's details of each deployment of the application, by name."""
    applications = serve_client().get_serve_details()["applications"]
    return dict(applications.get(app_name, {"deployments": {}})["deployments"])


class Reference(NamedTuple):
    """A process's reference to an object. size: in bytes, -1 if not known. pinned: the process
    has its bytes."""

    object_id: str
    size: int
    pinned: bool
    pid: int


def referenced_objects() -> list[Reference]:
    """The references of all processes of the cluster to objects."""
    return [
        Reference(one.object_id.hex(), one.object_size, one.pinned_in_memory, worker.pid)
        for node in ray.nodes()
        for worker in node_stats(
            node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=True
        ).core_workers_stats
        for one in worker.object_refs
    ]


def logs_folder() -> Path:
    """The log folder of this process's Ray session."""
    node = ray._private.worker._global_node
    assert node
    return Path(node.get_session_dir_path()) / "logs"
