"""How what one stage answers gets to the next."""

from typing import Literal

from pydantic import Field

from configs.base import Config


class EdgesConfig(Config):
    mode: Literal["direct", "by_reference"] = Field(
        default="direct",
        description="direct: as gRPC messages between replicas, through the ingress, which costs"
        " least while messages are small. by_reference: through Ray's object store, from node to"
        " node without passing through the ingress. benchmarks/overhead.py compares them.",
    )
    direct_up_to_bytes: int = Field(
        default=3 * 1024 * 1024,
        ge=0,
        description="Photos of a request that are larger than this together reach the detector"
        " through the object store even if the mode is direct. Up to about 4 MB a message costs"
        " less, and more than 4 MiB takes a longer RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH.",
    )
    merged_calls: int = Field(
        default=2,
        ge=1,
        description="Direct calls of the aligner, and of the aggregator, that an ingress replica"
        " has under way at a time; requests that come meanwhile share the next one.",
    )
    merged_inference: int = Field(
        default=1,
        ge=1,
        description="Most requests that share one direct call of the detector or of a recognizer,"
        " while an ingress replica knows of no free worker there. 1: each has calls of its own, and"
        " a client that leaves frees what it had there. More costs less CPU, but Serve's own"
        " autoscaling policy, which counts calls, no longer sees the load of these stages:"
        " graph.autoscaling:LittlesLaw does.",
    )
