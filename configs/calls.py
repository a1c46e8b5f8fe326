"""The calls of the stages: transport, batching across requests, retries and hedging."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from configs.base import Config


class CallsConfig(Config):
    """Calls from the ingress to the stages: their transport, and how many requests share one."""

    renamed: ClassVar[Mapping[str, str]] = {
        "merged_calls": "max_calls_in_flight",
        "merged_inference": "max_requests_per_call",
    }

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
    max_calls_in_flight: int = Field(
        default=2,
        ge=1,
        description="Direct calls of the aligner, and of the aggregator, that an ingress replica"
        " has under way at a time; requests that come meanwhile share the next one.",
    )
    max_requests_per_call: int = Field(
        default=1,
        ge=1,
        description="Most requests that share one direct call of the detector or of a recognizer,"
        " while an ingress replica knows of no free worker there. 1: each has calls of its own, and"
        " a client that leaves frees what it had there. More costs less CPU, but Serve's own"
        " autoscaling policy, which counts calls, no longer sees the load of these stages:"
        " graph.autoscaling:LittlesLaw does.",
    )


class RetryConfig(Config):
    """Calls whose replica dies or does not answer: when they are sent again."""

    renamed: ClassVar[Mapping[str, str]] = {"silent_after_s": "hedge_after_s"}

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
    hedge_after_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds without an answer after which a call is sent once more, and whichever"
        " answers first counts; a replica that answered no call for so long is passed over while"
        " there are others. Should not be below request_limits.max_queue_wait_s, or calls that only"
        " wait their turn are sent twice, and be below request_limits.timeout_s.",
    )
