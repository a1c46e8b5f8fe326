"""Prometheus metrics of a stage's replicas.

Ray's metric classes are passed in, as only `deployment.py` files and `graph` import Ray. Serve adds
the tags `deployment`, `replica` and `application`, and Ray prefixes every name with `ray_`. No tag
of a stage identifies a face or a client.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from deployments.contracts import DetectedPhoto, FloatArray, Span

# Counts a stage's work on a photo, and returns its span.
OnDone = Callable[[Span], Span]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Library(Protocol):
    """The part of `ray.serve.metrics` that is used here."""

    Counter: Any
    Gauge: Any
    Histogram: Any


@dataclass(frozen=True)
class Metric:
    """A counter, a gauge, or a histogram if `boundaries` are given: its buckets' upper ends, above
    zero.

    Ray estimates a histogram's sum from the buckets' middles, so the sum is not exact.
    """

    name: str
    description: str
    tags: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    is_gauge: bool = False

    @property
    def kind(self) -> Literal["counter", "gauge", "histogram"]:
        if self.is_gauge:
            return "gauge"
        return "histogram" if self.boundaries else "counter"

    def create(self, library: Library) -> Any:
        if self.boundaries:
            return library.Histogram(
                self.name, self.description, boundaries=list(self.boundaries), tag_keys=self.tags
            )
        create = library.Gauge if self.is_gauge else library.Counter
        return create(self.name, self.description, tag_keys=self.tags)

    @property
    def exported_name(self) -> str:
        """The name in Prometheus; a histogram adds `_bucket`, `_count` or `_sum`."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


STAGE_SECONDS = Metric(
    "facegraph_stage_seconds",
    "Time of one stage's work on one photo, including its wait for a thread or a batch",
    ("stage",),
    _SECONDS,
)
BATCH_ITEMS = Metric(
    "facegraph_batch_items",
    "Photos in one call of a network, or requests in one call that they share",
    ("stage",),
    (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128),
)
BATCH_WAIT_SECONDS = Metric(
    "facegraph_batch_wait_seconds",
    "Time that a photo, or a request, waited for its batch to start",
    ("stage",),
    _SECONDS,
)
PHOTOS = Metric(
    "facegraph_photos",
    "Photos searched for faces; face: found, or none",
    ("face",),
)
FACES = Metric(
    "facegraph_faces",
    "Faces found; at most one in a photo of which only one face is requested",
)
UNCERTAINTY = Metric(
    "facegraph_uncertainty",
    "Uncertainty of a face, by a recognizer that gives one",
    ("recognizer",),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)

STAGE_METRICS = (STAGE_SECONDS, BATCH_ITEMS, BATCH_WAIT_SECONDS, PHOTOS, FACES, UNCERTAINTY)


class BatchMetrics:
    """Metrics of a replica's batches, or of the calls that requests share in the ingress."""

    def __init__(self, library: Library) -> None:
        self._items = BATCH_ITEMS.create(library)
        self._wait_seconds = BATCH_WAIT_SECONDS.create(library)

    def started(self, stage: str, waits_s: Sequence[float]) -> None:
        """Count a batch that starts; waits_s: each item's queueing time in seconds."""
        tags = {"stage": stage}
        self._items.observe(len(waits_s), tags)
        for wait_s in waits_s:
            self._wait_seconds.observe(wait_s, tags)


class StageMetrics:
    """Metrics of one replica of a stage."""

    def __init__(self, library: Library) -> None:
        self.batches = BatchMetrics(library)
        self._seconds = STAGE_SECONDS.create(library)
        self._photos = PHOTOS.create(library)
        self._faces = FACES.create(library)
        self._uncertainty = UNCERTAINTY.create(library)

    def done(self, span: Span) -> Span:
        """Count a stage's work on a photo, and return its span."""
        self._seconds.observe(span.duration_s, {"stage": span.stage})
        return span

    def detected(self, requests: Sequence[Sequence[DetectedPhoto]]) -> None:
        """Count a call's photos, and the requested faces that were found in them."""
        photos = [photo for request in requests for photo in request]
        for photo in photos:
            for span in photo.spans:
                self.done(span)
        found = [len(photo.faces) for photo in photos if len(photo.faces)]
        for face, count in (("found", len(found)), ("none", len(photos) - len(found))):
            if count:
                self._photos.inc(count, {"face": face})
        if found:
            self._faces.inc(sum(found))

    def embedded(self, recognizer: str, uncertainty: FloatArray | None) -> None:
        """Count N faces' uncertainties, float32 [N]; None if the recognizer has none."""
        for value in () if uncertainty is None else uncertainty.tolist():
            self._uncertainty.observe(value, {"recognizer": recognizer})
