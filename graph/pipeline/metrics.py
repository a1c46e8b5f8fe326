"""Prometheus metrics of the ingress, and METRICS, the list of all of FaceGraph's metrics.

The tag `key` is the operator's name of an API key; no other tag identifies a client.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray.serve import metrics

from deployments.errors import FaceGraphError
from deployments.replica.metrics import STAGE_METRICS, BatchMetrics, Metric
from graph.pipeline.retries import Reason
from graph.schemas import CompareResponse

REQUESTS = Metric(
    "facegraph_requests",
    "Requests answered, over HTTP or from Python; code: ok, the error's code, or cancelled if"
    " the client disconnected",
    ("route", "code"),
)
REQUEST_SECONDS = Metric(
    "facegraph_request_seconds",
    "Time from a request's arrival at the ingress to its answer",
    ("route",),
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
SIMILARITY = Metric(
    "facegraph_similarity",
    "Cosine of the best match of a comparison; values below zero count in the first bucket",
    ("decision",),
    (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0),
)
SENT_AGAIN = Metric(
    "facegraph_calls_sent_again",
    "Calls of stages sent again; reason: lost if their replica died, silent if it gave no answer"
    " in time",
    ("reason",),
)
KEY_REQUESTS = Metric(
    "facegraph_key_requests",
    "HTTP requests to /v1 by the name of their API key; key: also anonymous, and unknown for a"
    " wrong or missing one",
    ("key", "code"),
)
KEY_PHOTOS = Metric(
    "facegraph_key_photos",
    "Photos in these requests, if their bodies were read: two in a comparison",
    ("key", "code"),
)
KEY_EXPIRY = Metric(
    "facegraph_key_expiry_timestamp_seconds",
    "Time at which an API key expires, in Unix seconds; keys without an end have none",
    ("key",),
    is_gauge=True,
)

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    SIMILARITY,
    SENT_AGAIN,
    KEY_REQUESTS,
    KEY_PHOTOS,
    KEY_EXPIRY,
    *STAGE_METRICS,
)


@contextmanager
def counted(count: Callable[[str], None]) -> Iterator[None]:
    """Call `count` with the block's result: ok, its error's code, or cancelled."""
    code = "cancelled"
    try:
        yield
        code = "ok"
    except Exception as error:
        code = error.code if isinstance(error, FaceGraphError) else "internal"
        raise
    finally:
        count(code)


class RequestMetrics:
    """Metrics of one ingress replica."""

    def __init__(self) -> None:
        self.batches = BatchMetrics(metrics)
        self._requests = REQUESTS.create(metrics)
        self._seconds = REQUEST_SECONDS.create(metrics)
        self._similarity = SIMILARITY.create(metrics)
        self._sent_again = SENT_AGAIN.create(metrics)

    @contextmanager
    def request(self, route: str) -> Iterator[None]:
        """Count the block as one request, with its duration and its result's code."""
        started = time.perf_counter()

        def count(code: str) -> None:
            self._requests.inc(1, {"route": route, "code": code})
            self._seconds.observe(time.perf_counter() - started, {"route": route})

        with counted(count):
            yield

    def sent_again(self, reason: Reason) -> None:
        self._sent_again.inc(1, {"reason": reason})

    def compared(self, answer: CompareResponse) -> None:
        # Rounding may leave a photo's comparison with itself a little over one.
        self._similarity.observe(min(answer.similarity, 1.0), {"decision": answer.decision})
