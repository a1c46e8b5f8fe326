"""What a stage's replicas tell Prometheus.

Ray's metric classes are handed in, as only `deployment.py` files and `graph` import Ray. Serve adds
the tags `deployment`, `replica` and `application`; Ray puts `ray_` before every name. No tag tells
whose face or whose request it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.contracts import FloatArray, Span

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Library(Protocol):
    """`ray.serve.metrics`."""

    Counter: Any
    Histogram: Any


@dataclass(frozen=True)
class Metric:
    """A counter, or with `boundaries` a histogram of buckets that end there, all above zero: what
    Ray exports as its sum is made of the buckets' middles."""

    name: str
    description: str
    tags: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    def create(self, library: Library) -> Any:
        if self.boundaries:
            return library.Histogram(
                self.name, self.description, boundaries=list(self.boundaries), tag_keys=self.tags
            )
        return library.Counter(self.name, self.description, tag_keys=self.tags)

    @property
    def exported_name(self) -> str:
        """As Prometheus sees it; a histogram's has `_bucket`, `_count` or `_sum` behind it."""
        return f"ray_{self.name}" + ("" if self.boundaries else "_total")


STAGE_SECONDS = Metric(
    "facegraph_stage_seconds",
    "Time of one stage's work on one photo, its waiting for a thread or a batch included",
    ("stage",),
    _SECONDS,
)
BATCH_ITEMS = Metric(
    "facegraph_batch_items",
    "Photos, or requests, in one call of a network or of a merged stage",
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
    "Faces found: of photos whose largest face alone is wanted, that one",
)
UNCERTAINTY = Metric(
    "facegraph_uncertainty",
    "Uncertainty of a face, by a recognizer that gives one",
    ("recognizer",),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)

STAGE_METRICS = (STAGE_SECONDS, BATCH_ITEMS, BATCH_WAIT_SECONDS, PHOTOS, FACES, UNCERTAINTY)


class BatchMetrics:
    """What is told of batches; the ingress has some too."""

    def __init__(self, library: Library) -> None:
        self._items = BATCH_ITEMS.create(library)
        self._wait_seconds = BATCH_WAIT_SECONDS.create(library)

    def started(self, stage: str, waits_s: Sequence[float]) -> None:
        """A batch starts, whose items waited so long."""
        tags = {"stage": stage}
        self._items.observe(len(waits_s), tags)
        for wait_s in waits_s:
            self._wait_seconds.observe(wait_s, tags)


class StageMetrics:
    def __init__(self, library: Library) -> None:
        self.batches = BatchMetrics(library)
        self._seconds = STAGE_SECONDS.create(library)
        self._photos = PHOTOS.create(library)
        self._faces = FACES.create(library)
        self._uncertainty = UNCERTAINTY.create(library)

    def done(self, span: Span) -> Span:
        self._seconds.observe(span.duration_s, {"stage": span.stage})
        return span

    def searched(self, faces: int) -> None:
        """A photo, in which so many of the wanted faces were found."""
        self._photos.inc(1, {"face": "found" if faces else "none"})
        if faces:
            self._faces.inc(faces)

    def embedded(self, recognizer: str, uncertainty: FloatArray | None) -> None:
        """uncertainty: float32 [N] of N faces, or None where the recognizer gives none."""
        for value in () if uncertainty is None else uncertainty.tolist():
            self._uncertainty.observe(value, {"recognizer": recognizer})
