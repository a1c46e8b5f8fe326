"""Configuration of the stages' calls: transport, cross-request batching, retries and hedging."""

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
        description="direct: by gRPC messages between replicas, through the ingress; this costs"
        " least while messages are small. by_reference: through Ray's object store, from node to"
        " node without passing through the ingress. benchmarks/overhead.py compares them.",
    )
    direct_up_to_bytes: int = Field(
        default=3 * 1024 * 1024,
        ge=0,
        description="Largest total size of a request's photos for a direct call of the detector;"
        " larger ones travel through the object store in either mode. Up to about 4 MB a message"
        " costs less than the object store. Messages of more than 4 MiB need a larger"
        " RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH.",
    )
    max_bytes_in_flight: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="Most bytes of the photos that one ingress replica has in calls of the detector"
        " at a time; further photos wait in the ingress, where they take less memory than in a"
        " call.",
    )
    max_calls_in_flight: int = Field(
        default=2,
        ge=1,
        description="Most direct calls of the aligner, and of the aggregator, that an ingress"
        " replica makes at a time. Requests that arrive meanwhile share the next call.",
    )
    max_requests_per_call: int = Field(
        default=1,
        ge=1,
        description="Cross-request batching: most requests that share one direct call of the"
        " detector or of a recognizer. Requests share a call while the ingress replica knows of no"
        " free worker. 1: each request has calls of its own, and a client that disconnects frees"
        " its work. A larger value costs less CPU, but Serve's own autoscaling policy, which counts"
        " calls, no longer sees the load of these stages; graph.autoscaling:LittlesLaw does.",
    )


class RetryConfig(Config):
    """Retries of calls whose replica dies, and hedges of calls that get no answer."""

    renamed: ClassVar[Mapping[str, str]] = {"silent_after_s": "hedge_after_s"}

    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="Most attempts at a stage's call, the first included, while the request has"
        " time left. Stages only compute, so a second attempt has no side effects.",
    )
    backoff_s: float = Field(
        default=0.1,
        ge=0,
        description="Seconds until a call whose replica died is sent again; doubled each time.",
    )
    hedge_after_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds without an answer after which a call is hedged: sent once more, and"
        " the first answer counts. A replica that has answered no call for this long is ejected: it"
        " gets no calls while there are other replicas. Keep it at or above"
        " request_limits.max_queue_wait_s, or calls that only queue are hedged, and below"
        " request_limits.timeout_s.",
    )
