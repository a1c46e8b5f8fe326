"""Schemas of requests about galleries and of their answers (HTTP and Python).

A class ...Options has a request's ids and options, as the Python client sends them beside the
photos; a class ...Request adds the photos, as HTTP has them.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from configs.catalogue import MAX_EMBEDDING_SIZE
from deployments.contracts import FaceChoice, Reason
from deployments.gallery.contracts import ID, Decision, Doubt, Policy, Scoring
from deployments.gallery.facts import Fact, FactName, Facts, Text
from graph.schemas import (
    LIVENESS,
    Ambiguous,
    Face,
    ImageFile,
    ImageSize,
    Name,
    Schema,
    Timing,
    no_boolean,
)

NDJSON = "application/x-ndjson"
# Most photos in one request: with a limit of 32 MiB on its body, 1 MiB for each.
MAX_PHOTOS = 32


def _json_object(value: Any) -> Any:
    """Read a form's text as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _in_a_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


GalleryId = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
        description="The gallery's id: a-z, 0-9, ., _ or -, at most 63.",
        examples=["staff"],
    ),
]
PersonId = Annotated[
    str,
    Field(
        pattern=ID,
        description="The person's id in the gallery: letters, digits, ., _, :, @ or -, at most"
        " 128. A number of yours says less than a name.",
        examples=["p-1017"],
    ),
]
FaceId = Annotated[
    str, Field(pattern=ID, description="The face's id, as the answers have it.", examples=["f-1"])
]
Metadata = Annotated[
    Facts,
    BeforeValidator(_json_object),
    Field(
        description="Facts about the person, by which a filter selects. As JSON in a form.",
        examples=[{"team": "night"}],
    ),
]
Filter = Annotated[
    Annotated[dict[FactName, Fact], Field(max_length=8)] | None,
    BeforeValidator(_json_object),
    Field(
        description="Only persons whose metadata have these values. As JSON in a form or a query.",
        examples=[{"team": "night"}],
    ),
]
ExpiresAt = Annotated[
    AwareDatetime | None,
    Field(
        description="Time, with an offset, from which the person is found no more, and is deleted.",
        examples=["2127-01-31T12:00:00Z"],
    ),
]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False), BeforeValidator(no_boolean)]
Threshold = Annotated[
    Cosine | None,
    Field(description="Cosine from which a face is a person's; left out, the gallery's."),
]
Limit = Annotated[
    int,
    Field(ge=1, le=1000, description="Most entries in the answer."),
    BeforeValidator(no_boolean),
]
Cursor = Annotated[
    str | None,
    Field(max_length=512, description="`next_cursor` of the answer before; left out: the start."),
]
Images = Annotated[
    list[ImageFile],
    Field(min_length=1, max_length=MAX_PHOTOS),
    BeforeValidator(_in_a_list),
    Field(
        description="Photos, each with the person's face: its largest face is taken.",
    ),
]
EnrolmentReason = (
    Reason
    | Literal[
        "face_not_found",
        "several_faces",
        "another_person",
        "unlike_person",
        "too_many_faces",
        "invalid_image",
        "image_too_large",
        "unsupported_media_type",
        "spoof",
        "liveness_uncertain",
    ]
)


class GalleriesOptions(Schema):
    pass


class GalleryOptions(Schema):
    gallery: GalleryId


class GallerySettings(GalleryOptions):
    """Fields left out stay as they are; in a new gallery they get the configuration's values."""

    recognizer: Annotated[
        Name | None,
        Field(
            description="The pool whose embeddings the gallery holds; left out, the first default"
            " of the graph. It cannot be changed."
        ),
    ] = None
    threshold: Annotated[
        Cosine | None,
        Field(
            description="Cosine from which a face is a person's; left out, the recognizer's own."
            " The more persons a gallery has, the higher it must be."
        ),
    ] = None
    min_margin: Annotated[
        float | None,
        Field(
            ge=0,
            le=2,
            allow_inf_nan=False,
            description="A match is uncertain if the second person's cosine is less than this below"
            " the first's.",
        ),
        BeforeValidator(no_boolean),
    ] = None
    scoring: Annotated[
        Scoring | None,
        Field(
            description="A person's similarity: that of the most similar face (best), or of the"
            " faces' normalised mean (centroid)."
        ),
    ] = None
    policy: Annotated[
        Policy | None,
        Field(
            description="Faces that are refused at enrolment. off: none; standard: those that harm"
            " recognition, or may be another person's; strict: also those that are turned."
        ),
    ] = None
    max_faces_per_person: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Most faces of one person."),
        BeforeValidator(no_boolean),
    ] = None


class GalleryResponse(Schema):
    id: GalleryId
    recognizer: str
    version: str | None = Field(
        description="The model and weights whose embeddings the gallery holds; null until it has a"
        " face."
    )
    threshold: float
    min_margin: float
    scoring: Scoring
    policy: Policy
    max_faces_per_person: int
    persons: int = Field(description="Number of persons.")
    faces: int = Field(description="Number of faces.")
    created_at: datetime


class GalleriesResponse(Schema):
    galleries: list[GalleryResponse] = Field(description="By id: those that the key reaches.")


class DeletedResponse(Schema):
    deleted: bool = Field(description="false: there was nothing of that id.")
    purged: bool = Field(
        description="true: no byte of its faces is left on the database's disk. false: no answer"
        " contains it any more, and the disk is cleared later."
    )


class PersonOptions(GalleryOptions):
    person: PersonId


class PersonSettings(GalleryOptions):
    id: Annotated[
        PersonId | None, Field(description="Left out, a new one is made.", examples=["p-1017"])
    ] = None
    name: Annotated[
        Text | None, Field(description="Shown beside a candidate.", examples=["Yao Ming"])
    ] = None
    metadata: Metadata = Field(default_factory=dict)
    expires_at: ExpiresAt = None


class PersonChanges(PersonOptions):
    """Fields left out stay as they are; null takes a value away."""

    name: Text | None = None
    metadata: Annotated[Metadata | None, Field(description="In place of all metadata before.")] = (
        None
    )
    expires_at: ExpiresAt = None


class PersonsOptions(GalleryOptions):
    limit: Limit = 100
    cursor: Cursor = None
    filter: Filter = None


class MergeOptions(PersonOptions):
    other: Annotated[
        PersonId,
        Field(
            description="The person whose faces go to `person`, and who is then deleted.",
            examples=["p-1018"],
        ),
    ]


class MoveOptions(PersonOptions):
    to: Annotated[
        GalleryId,
        Field(
            description="The gallery to which the person goes, with all faces.",
            examples=["archive"],
        ),
    ]


class PersonResponse(Schema):
    id: PersonId
    name: str | None
    metadata: dict[str, Fact]
    faces: int = Field(description="Number of faces.")
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class PersonsResponse(Schema):
    persons: list[PersonResponse] = Field(description="By id.")
    next_cursor: str | None = Field(description="`cursor` of the next request; null at the end.")


class EnrolOptions(PersonOptions):
    liveness: Annotated[
        bool,
        Field(description="Refuse a face that is not live, and one of which it cannot be told."),
    ] = False


class EnrolRequest(EnrolOptions):
    images: Images


class FaceRecord(Schema):
    """A face of a person. Imported faces may lack box, score and source."""

    id: FaceId
    box: tuple[float, float, float, float] | None = Field(description="x1, y1, x2, y2 in pixels.")
    score: float | None = Field(description="The detector's confidence, 0 to 1.")
    quality: float | None = Field(description="Fitness for recognition, 0 to 1.")
    source: str | None = Field(description="SHA-256 of the photo's file, in hex.")
    created_at: datetime


class FacesResponse(Schema):
    faces: list[FaceRecord] = Field(description="The oldest first.")


class EnrolmentProblem(Schema):
    reason: EnrolmentReason
    message: str
    person: PersonId | None = Field(
        default=None, description="The other person, for `another_person`."
    )
    similarity: float | None = Field(
        default=None, description="Cosine to the other person, or to the person's own faces."
    )


class EnrolledPhoto(Schema):
    outcome: Literal["enrolled", "exists", "refused"] = Field(
        description="exists: the person has this photo's face already."
    )
    face: FaceRecord | None = Field(description="null for a refused photo.")
    problems: list[EnrolmentProblem] = Field(description="Why it was refused; else empty.")


class EnrolResponse(Schema):
    person: PersonId
    photos: list[EnrolledPhoto] = Field(description="One outcome per photo, in their order.")
    faces: int = Field(description="Number of the person's faces now.")
    timings: list[Timing]


class FaceOptions(PersonOptions):
    face: FaceId


class MoveFaceOptions(FaceOptions):
    to: Annotated[
        PersonId, Field(description="The person to whom the face goes.", examples=["p-1018"])
    ]


class VerifyOptions(PersonOptions):
    threshold: Threshold = None


class VerifyRequest(VerifyOptions):
    image: ImageFile


class SearchOptions(GalleryOptions):
    faces: Annotated[
        FaceChoice, Field(description="Search for the photo's largest face, or for each face.")
    ] = "largest"
    top_k: Annotated[
        int,
        Field(ge=1, le=100, description="Most candidates for one face."),
        BeforeValidator(no_boolean),
    ] = 5
    threshold: Threshold = None
    filter: Filter = None
    liveness: Annotated[bool, LIVENESS] = False
    embedding: Annotated[
        Annotated[
            list[Annotated[float, Field(allow_inf_nan=False)]],
            Field(min_length=1, max_length=MAX_EMBEDDING_SIZE),
        ]
        | None,
        BeforeValidator(_json_object),
        Field(
            description="In place of a photo: an embedding by the gallery's recognizer.",
        ),
    ] = None
    version: Annotated[
        str | None,
        Field(
            max_length=256,
            description="The embedding's `version`: one that is not the gallery's is refused.",
        ),
    ] = None


class SearchRequest(SearchOptions):
    image: Annotated[ImageFile | None, Field(description="A photo; or give `embedding`.")] = None

    @model_validator(mode="after")
    def _is_one(self) -> "SearchRequest":
        if (self.image is None) == (self.embedding is None):
            raise ValueError("image: expected a photo, or `embedding` in its place")
        return self


class GalleryCandidate(Schema):
    person: PersonId
    name: str | None
    metadata: dict[str, Fact]
    face: FaceId = Field(description="The person's most similar face.")
    similarity: float = Field(description="Cosine, -1 to 1.")


class SearchDecision(Schema):
    decision: Decision | Literal["spoof"] = Field(
        description="match: the most similar person; no_match: nobody of the gallery; uncertain:"
        " neither can be told, because of `doubts` or of the face's `liveness`; spoof: the face is"
        " not live, where `liveness` was asked."
    )
    doubts: list[Doubt] = Field(
        description="quality, uncertainty: the face is too poor; margin: a second person is about"
        " as similar as the first."
    )


class SearchedFace(SearchDecision):
    face: Face | None = Field(description="null in a search by an embedding.")
    candidates: list[GalleryCandidate] = Field(
        description="The most similar persons, best first, also those under the threshold."
    )


class SearchResponse(Schema):
    image: ImageSize | None = Field(description="null in a search by an embedding.")
    threshold: float
    faces: list[SearchedFace] = Field(description="By falling score of the detector.")
    ambiguous: Ambiguous
    timings: list[Timing]


class VerifyResponse(SearchDecision):
    person: PersonId
    similarity: float = Field(description="Cosine to the person, by the gallery's `scoring`.")
    threshold: float
    matched: bool
    face: Face
    image: ImageSize
    ambiguous: Ambiguous
    timings: list[Timing]


class AuditOptions(GalleryOptions):
    limit: Limit = 100
    cursor: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,18}$",
            description="`next_cursor` of the answer before; left out: the newest entry.",
        ),
    ] = None


class AuditRecord(Schema):
    """A change, and who made it. Its ids are all that it has of a person."""

    at: datetime
    key: str = Field(
        description="Name of the caller's API key; `anonymous`, or `by handle` for a call from"
        " the cluster."
    )
    action: str
    persons: list[str] = Field(description="The persons concerned, at most 100.")
    faces: list[str] = Field(description="The faces concerned, at most 100.")


class AuditResponse(Schema):
    entries: list[AuditRecord] = Field(description="The newest first.")
    next_cursor: str | None = Field(description="`cursor` of the next request; null at the end.")


class ImportRequest(GalleryOptions):
    lines: Annotated[
        bytes,
        Field(description="NDJSON as the export gives it: whole lines, in any number of requests."),
    ]


class RefusedLine(Schema):
    number: int = Field(description="Counted from 1 within the request.")
    reason: str


class ImportResponse(Schema):
    """Persons and faces that were there before are not counted."""

    persons: int
    faces: int
    refused: list[RefusedLine]
