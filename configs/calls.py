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


class RetryConfig(Config):
    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often a stage's call is sent at most, the first time included, while the"
        " request has time left. Stages only compute, so sending twice harms nothing.",
    )
    backoff_s: float = Field(
        default=0.1,
        ge=0,
        description="Seconds until a call whose replica died is sent again; doubled each time.",
    )
    silent_after_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds without an answer after which a call is sent once more, and whichever"
        " answers first counts; a replica that answered no call for so long is passed over while"
        " there are others. Should not be below request_limits.max_wait_s, or calls that only wait"
        " their turn are sent twice, and be below request_limits.timeout_s.",
    )
