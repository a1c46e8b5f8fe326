"""Configuration of the stages' calls: cross-request batching, retries and hedging."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from configs.base import Config

_GONE = {
    "mode": "every answer goes from stage to stage by reference",
    "max_calls_in_flight": "requests share the calls of all stages (calls.max_requests_per_call)",
    "merged_calls": "requests share the calls of all stages (calls.max_requests_per_call)",
}


class CallsConfig(Config):
    """Calls of the stages: how photos travel, and how many requests share them."""

    renamed: ClassVar[Mapping[str, str]] = {
        "merged_inference": "max_requests_per_call",
        "direct_up_to_bytes": "inline_up_to_bytes",
    }

    inline_up_to_bytes: int = Field(
        default=3 * 1024 * 1024,
        ge=0,
        description="Largest total size of photos that travel in the call of the detector itself;"
        " larger ones travel through Ray's object store. Up to a few megabytes a call costs less"
        " than the object store. Ray takes at most 10 MiB into a call.",
    )
    max_bytes_in_flight: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="Most bytes of the photos that one ingress replica has in calls at a time;"
        " further photos wait in the ingress, where they take less memory than in a call.",
    )
    max_requests_per_call: int = Field(
        default=1,
        ge=1,
        description="Cross-request batching: most requests that go through the stages together, in"
        " shared calls. Requests share calls while the ingress replica knows of no free worker of"
        " the detector. 1: each request has calls of its own, and a client that disconnects frees"
        " its work. A larger value costs less CPU, but Serve's own autoscaling policy, which counts"
        " calls, no longer sees the load of the stages; graph.autoscaling:LittlesLaw does.",
    )
    in_process_stages: bool = Field(
        default=False,
        description="true: a replica of the detector aligns the faces that it finds, and a replica"
        " of a recognizer compares the embeddings that it computes, each in its own process. An"
        " embedding then takes two calls instead of three, and a comparison two instead of four."
        " Comparisons by several recognizers are made by the aggregator, and what classifiers judge"
        " is aligned by the aligner, as with false.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_gone(cls, values: Any) -> Any:
        for former, instead in _GONE.items():
            if isinstance(values, Mapping) and former in values:
                raise ValueError(f"{former} is no longer a setting: {instead}")
        return values


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
