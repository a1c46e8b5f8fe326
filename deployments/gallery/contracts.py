"""Data types of galleries: questions to the gallery stage and its answers.

Ids of galleries, persons and faces are the caller's. Times are aware and in UTC. None of these
types but an export's lines holds a biometric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from deployments.contracts import EMBEDDING_SIZE, FoundFaces, Reason, Span

# Ids of galleries, persons and faces.
ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]
Policy = Literal["off", "standard", "strict"]
Scoring = Literal["best", "centroid"]
Decision = Literal["match", "no_match", "uncertain"]
Doubt = Literal["quality", "uncertainty", "margin"]
EnrolmentReason = (
    Reason
    | Literal[
        "face_not_found", "several_faces", "another_person", "unlike_person", "too_many_faces"
    ]
)


@dataclass(frozen=True, slots=True)
class GallerySettings:
    """A gallery's settings.

    recognizer: the pool whose embeddings it holds. version: of the pool's model and weights, as in
    `Embeddings`; None: that of the first faces. Neither changes once the gallery has faces.
    threshold: lowest cosine of a match. min_margin: a match is uncertain if the second person's
    cosine is less than this below the first's. max_uncertainty, min_quality: the recognizer's
    limits of a face that is decided on; None for no limit. scoring: a person's similarity is that
    of the person's most similar face (best), or of the normalised mean of all (centroid).
    embedding_size: numbers in an embedding; it changes as the version does.
    """

    id: str
    recognizer: str
    threshold: float
    version: str | None = None
    policy: Policy = "standard"
    max_faces_per_person: int = 20
    min_margin: float = 0.0
    max_uncertainty: float | None = None
    min_quality: float | None = None
    scoring: Scoring = "best"
    embedding_size: int = EMBEDDING_SIZE


@dataclass(frozen=True, slots=True)
class Gallery:
    settings: GallerySettings
    persons: int
    faces: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewPerson:
    """id: chosen by the caller before the first attempt, so that a repeated call is the same."""

    id: str
    name: str | None = None
    metadata: Metadata | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """faces: number of the person's faces."""

    id: str
    name: str | None
    metadata: Metadata
    faces: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class PersonPage:
    """Persons by id. next_cursor: None after the last page."""

    persons: tuple[Person, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face without its embedding.

    box: x1 y1 x2 y2 in pixels of the photo. score: the detector's. source: SHA-256 of the photo's
    file, 64 hex digits. box, score and source are None for a face that was imported without them.
    """

    id: str
    box: tuple[float, float, float, float] | None
    score: float | None
    quality: float | None
    source: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Deleted:
    """deleted: False if there was nothing of that id. purged: no byte of it is left on disk."""

    deleted: bool
    purged: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a photo was refused. person: the other person, for another_person. similarity: to the
    other person, or to the person's own faces for unlike_person."""

    reason: EnrolmentReason
    person: str | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The outcome of one photo. exists: the person has this photo's face already."""

    outcome: Literal["enrolled", "exists", "refused"]
    face: StoredFace | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The outcomes of a call's photos, in order. faces: number of the person's faces now."""

    photos: tuple[Enrolled, ...]
    faces: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """threshold: None for the gallery's. filter: only persons whose metadata have these values."""

    gallery: str
    top_k: int = 5
    threshold: float | None = None
    filter: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person and the cosine to the searched face; face: the person's most similar face."""

    person: str
    name: str | None
    metadata: Metadata
    face: str
    similarity: float


@dataclass(frozen=True, slots=True)
class SearchedFace:
    """candidates: persons by falling similarity, also those under the threshold."""

    decision: Decision
    doubts: tuple[Doubt, ...]
    candidates: tuple[Candidate, ...]
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """faces: one for each of the embeddings, in order. found: their photo's; None without one."""

    threshold: float
    faces: tuple[SearchedFace, ...]
    found: FoundFaces | None
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """The first embedding against one person. face: the person's most similar face."""

    similarity: float
    threshold: float
    decision: Decision
    doubts: tuple[Doubt, ...]
    face: str
    found: FoundFaces | None
    spans: tuple[Span, ...]
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class ExportPage:
    """lines: NDJSON in UTF-8, whole lines. next_cursor: None after the last page."""

    lines: bytes
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """number: counted from 1 within the call's lines."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """Persons and faces that were added; those that were there already are not counted."""

    persons: int
    faces: int
    refused: tuple[RefusedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """key: name of the API key, or `anonymous`. persons, faces: the ids concerned, at most 100."""

    number: int
    at: datetime
    key: str
    action: str
    gallery: str
    persons: tuple[str, ...]
    faces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The newest entries first. next_cursor: None after the last page."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None
