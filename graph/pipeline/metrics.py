"""Prometheus metrics of the ingress, and METRICS, the list of all of FaceGraph's metrics.

No tag identifies a client.
"""

import time
from collections.abc import Iterator
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

METRICS = (REQUESTS, REQUEST_SECONDS, SIMILARITY, SENT_AGAIN, *STAGE_METRICS)


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
        started, code = time.perf_counter(), "cancelled"
        try:
            yield
            code = "ok"
        except Exception as error:
            code = error.code if isinstance(error, FaceGraphError) else "internal"
            raise
        finally:
            self._requests.inc(1, {"route": route, "code": code})
            self._seconds.observe(time.perf_counter() - started, {"route": route})

    def sent_again(self, reason: Reason) -> None:
        self._sent_again.inc(1, {"reason": reason})

    def compared(self, answer: CompareResponse) -> None:
        # Rounding may leave a photo's comparison with itself a little over one.
        self._similarity.observe(min(answer.similarity, 1.0), {"decision": answer.decision})
