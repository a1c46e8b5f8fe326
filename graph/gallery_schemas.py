"""Schemas of requests about galleries and of their answers (HTTP and Python).

A class ...Options has a request's ids and options, as the Python client sends them beside the
photos; a class ...Request adds the photos, as HTTP has them.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from deployments.contracts import EMBEDDING_SIZE, FaceChoice
from graph.schemas import (
    Ambiguous,
    Face,
    ImageFile,
    ImageSize,
    Name,
    Schema,
    Timing,
    no_boolean,
)

# Most photos in one request: with a limit of 32 MiB on its body, 1 MiB for each.
MAX_PHOTOS = 32
_MAX_METADATA = 64


def _json_object(value: Any) -> Any:
    """Read a form's text as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


GalleryId = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z",
        description="The gallery's id: a-z, 0-9, ., _ or -, at most 63.",
        examples=["staff"],
    ),
]
_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z"
PersonId = Annotated[
    str,
    Field(
        pattern=_ID,
        description="The person's id in the gallery: letters, digits, ., _, :, @ or -, at most"
        " 128. Use a number of yours, not a name.",
        examples=["p-1017"],
    ),
]
FaceId = Annotated[str, Field(pattern=_ID, description="The face's id.", examples=["f-1"])]
Scalar = str | int | float | bool
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Scalar],
    BeforeValidator(_json_object, json_schema_input_type=dict[str, Scalar]),
    Field(
        max_length=_MAX_METADATA,
        description="Facts about the person, by which a filter selects. In a form: as JSON.",
        examples=[{"team": "night"}],
    ),
]
Filter = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Scalar] | None,
    BeforeValidator(_json_object, json_schema_input_type=dict[str, Scalar] | None),
    Field(
        max_length=_MAX_METADATA,
        description="Only persons whose metadata have these values. In a form or query: as JSON.",
        examples=[{"team": "night"}],
    ),
]
Threshold = Annotated[
    float | None,
    Field(
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description="Cosine from which a face is a person's; left out, the gallery's.",
    ),
]
Policy = Annotated[
    Literal["off", "standard", "strict"],
    Field(
        description="Faces that are refused at enrolment. off: none; standard: those that harm"
        " recognition; strict: all but clear frontal faces, alone in their photo."
    ),
]
Limit = Annotated[int, Field(ge=1, le=1000, description="Most entries in the answer.")]
Cursor = Annotated[
    str | None,
    Field(max_length=512, description="`next_cursor` of the answer before; left out: the start."),
]
ExpiresAt = Annotated[
    AwareDatetime | None,
    Field(description="Time from which the person is found no more, and is deleted: with an offset."),
]
Images = Annotated[
    list[ImageFile],
    BeforeValidator(
        lambda value: value if isinstance(value, list) else [value],
        json_schema_input_type=list[ImageFile],
    ),
    Field(
        min_length=1,
        max_length=MAX_PHOTOS,
        description="Photos, each with the person's face: the largest is taken.",
    ),
]
EnrolmentReason = Literal[
    "small",
    "blurred",
    "low_detail",
    "turned",
    "profile",
    "several_faces",
    "another_person",
    "unlike_person",
    "too_many_faces",
    "face_not_found",
    "invalid_image",
    "image_too_large",
    "unsupported_media_type",
]
SearchDecision = Literal["match", "no_match", "uncertain"]


class GalleriesOptions(Schema):
    pass


class GalleryOptions(Schema):
    gallery: GalleryId


class GallerySettings(GalleryOptions):
    recognizer: Annotated[
        Name | None,
        Field(
            description="The pool whose embeddings the gallery holds; left out, the graph's first"
            " default. It cannot be changed."
        ),
    ] = None
    threshold: Annotated[
        float | None,
        Field(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="Cosine from which a face is a person's; left out, the recognizer's own."
            " The more persons, the higher it should be.",
        ),
        BeforeValidator(no_boolean),
    ] = None
    policy: Policy = "standard"
    max_faces_per_person: Annotated[
        int, Field(ge=1, le=1000, description="Most faces that a person can have.")
    ] = 20


class Gallery(Schema):
    id: GalleryId
    recognizer: str
    version: str = Field(description="The model and weights whose embeddings the gallery holds.")
    threshold: float
    policy: Policy
    max_faces_per_person: int
    persons: int = Field(description="Number of persons.")
    faces: int = Field(description="Number of faces.")
    created_at: datetime


class GalleriesResponse(Schema):
    galleries: list[Gallery] = Field(description="By id: those that the API key reaches.")


class DeletedResponse(Schema):
    deleted: bool = Field(description="False if there was nothing of that id.")
    purged: bool = Field(
        description="True once no byte of it is on the database's disk; false: gone from every"
        " answer, and the database frees its place later."
    )


class PersonOptions(GalleryOptions):
    person: PersonId


class PersonSettings(GalleryOptions):
    id: Annotated[PersonId | None, Field(description="Left out, a new one is made.")] = None
    name: Annotated[str | None, Field(max_length=256)] = None
    metadata: Metadata = Field(default_factory=dict)
    expires_at: ExpiresAt = None


class PersonChanges(PersonOptions):
    """Fields left out stay as they are; null takes a value away."""

    name: Annotated[str | None, Field(max_length=256)] = None
    metadata: Annotated[
        Metadata | None, Field(description="In place of all metadata before.")
    ] = None
    expires_at: ExpiresAt = None


class PersonsOptions(GalleryOptions):
    limit: Limit = 100
    cursor: Cursor = None
    filter: Filter = None


class MergeOptions(PersonOptions):
    source: Annotated[
        PersonId,
        Field(description="The person whose faces `person` gets, and who is deleted then."),
    ]


class Person(Schema):
    id: PersonId
    name: str | None
    metadata: dict[str, Scalar]
    faces: int = Field(description="Number of faces.")
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class PersonsResponse(Schema):
    persons: list[Person] = Field(description="By id.")
    next_cursor: str | None = Field(description="The next answer's `cursor`; null at the end.")


class EnrolRequest(PersonOptions):
    images: Images


class StoredFace(Schema):
    id: FaceId
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels.")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    quality: float | None
    source: str = Field(description="SHA-256 of the photo, in hex.")
    created_at: datetime


class FacesResponse(Schema):
    faces: list[StoredFace] = Field(description="The oldest first.")


class EnrolmentProblem(Schema):
    reason: EnrolmentReason
    message: str
    person: PersonId | None = Field(
        default=None, description="The other person, for `another_person`."
    )
    similarity: float | None = Field(
        default=None, description="To the other person, or to the person's own faces."
    )


class Enrolment(Schema):
    """The outcome for one photo."""

    outcome: Literal["enrolled", "exists", "refused"] = Field(
        description="exists: the person has this photo's face already."
    )
    face: StoredFace | None = Field(description="null for a refused photo.")
    problems: list[EnrolmentProblem] = Field(description="Why the photo was refused; else empty.")


class EnrolResponse(Schema):
    person: PersonId
    enrolments: list[Enrolment] = Field(description="One per photo, in their order.")
    faces: int = Field(description="Number of the person's faces now.")
    timings: list[Timing]


class FaceOptions(PersonOptions):
    face: FaceId


class VerifyOptions(PersonOptions):
    threshold: Threshold = None


class VerifyRequest(VerifyOptions):
    image: ImageFile


class SearchOptions(GalleryOptions):
    faces: Annotated[
        FaceChoice, Field(description="Search with the photo's largest face, or with each face.")
    ] = "largest"
    top_k: Annotated[
        int, Field(ge=1, le=100, description="Most candidates for a face.")
    ] = 5
    threshold: Threshold = None
    filter: Filter = None
    embedding: Annotated[
        list[float] | None,
        Field(
            min_length=EMBEDDING_SIZE,
            max_length=EMBEDDING_SIZE,
            description="In place of a photo: an embedding by the gallery's recognizer.",
        ),
    ] = None
    version: Annotated[
        str | None,
        Field(
            max_length=256,
            description="The embedding's `version`; one that is not the gallery's is refused.",
        ),
    ] = None


class SearchRequest(SearchOptions):
    image: Annotated[ImageFile | None, Field(description="A photo; or give `embedding`.")] = None

    @model_validator(mode="after")
    def _is_one(self) -> "SearchRequest":
        if (self.image is None) == (self.embedding is None):
            raise ValueError("image: expected a photo, or an embedding in its place")
        return self


class Candidate(Schema):
    person: PersonId
    name: str | None
    metadata: dict[str, Scalar]
    face: FaceId = Field(description="The person's face that is most similar.")
    similarity: float = Field(description="Cosine, -1 to 1.")


class SearchedFace(Schema):
    face: Face | None = Field(description="null in a search by an embedding.")
    decision: ExpiresAt = Annotated[
    AwareDatetime | None,
    Field(description="Time from which the person is found no more, and is deleted: with an offset."),
]
Images = Annotated[
    list[ImageFile],
    BeforeValidator(
        lambda value: value if isinstance(value, list) else [value],
        json_schema_input_type=list[ImageFile],
    ),
    Field(
        min_length=1,
        max_length=MAX_PHOTOS,
        description="Photos, each with the person's face: the largest is taken.",
    ),
]
EnrolmentReason = Literal[
    "small",
    "blurred",
    "low_detail",
    "turned",
    "profile",
    "several_faces",
    "another_person",
    "unlike_person",
    "too_many_faces",
    "face_not_found",
    "invalid_image",
    "image_too_large",
    "unsupported_media_type",
]
SearchDecision = Field(
        description="match: the first candidate is the person; no_match: none of the gallery's"
        " persons is; uncertain: neither can be told, as `uncertain_because` says."
    )
    uncertain_because: list[str]
    candidates: list[Candidate] = Field(
        description="The most similar persons, best first, also those under the threshold."
    )


class SearchResponse(Schema):
    image: ImageSize | None = Field(description="null in a search by an embedding.")
    threshold: float
    faces: list[SearchedFace] = Field(description="By falling score of the detector.")
    ambiguous: Ambiguous
    timings: list[Timing]


class VerifyResponse(Schema):
    person: PersonId
    similarity: float = Field(description="Cosine to the person's most similar face.")
    threshold: float
    matched: bool
    decision: SearchDecision
    uncertain_because: list[str]
    face: Face
    image: ImageSize
    ambiguous: Ambiguous
    timings: list[Timing]
