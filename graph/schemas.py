"""Schemas of the graph's requests and answers (HTTP and Python), and validation of requests."""

from typing import Annotated, Any, Literal, TypeVar

import pybase64
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from configs.aggregator import Fusion
from deployments.contracts import FaceChoice, Reason
from deployments.errors import InvalidRequest

# For str.translate, which needs no memory besides the result.
_NO_SPACES = dict.fromkeys(map(ord, " \r\n\t"))
Decision = Literal["match", "mismatch", "uncertain", "spoof"]
LivenessPhotos = Literal["both", "source", "target"]


class Schema(BaseModel):
    """Base class of all requests and answers: frozen, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _image_bytes(value: Any) -> Any:
    """Decode base64 text, with or without the head of a data URL; return bytes unchanged."""
    if not isinstance(value, str):
        return value
    head, comma, encoded = value.rpartition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise ValueError("expected base64 or a data URL (data:image/...;base64,...)")
    if any(space in encoded for space in " \r\n\t"):
        encoded = encoded.translate(_NO_SPACES)
    try:
        # The standard library takes 40 times as long, and holds the GIL throughout.
        return pybase64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ValueError(f"not base64: {error}") from error


def _names(value: Any) -> Any:
    """Split a text of comma-separated names, or a list of such texts; keep each name once."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return value
    names = [name.strip() for item in value for name in item.split(",")]
    return list(dict.fromkeys(names))


def _liveness_photos(value: Any) -> Any:
    """Read true as both photos, and false as none."""
    if isinstance(value, bool | str):
        return {"true": "both", "false": None}.get(str(value).lower(), value)
    return value


def no_boolean(value: Any) -> Any:
    """Refuse JSON's true and false, which pydantic would read as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


ImageFile = Annotated[
    bytes,
    BeforeValidator(_image_bytes, json_schema_input_type=str),
    Field(
        description="A JPEG, PNG, WebP or BMP file: as a multipart file, or as base64 or a data"
        " URL in JSON.",
        json_schema_extra={"contentEncoding": "base64"},
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Names = Annotated[
    list[Name],
    BeforeValidator(
        _names,
        json_schema_input_type=Annotated[list[Name], Field(min_length=1, max_length=32)]
        | Annotated[str, Field(description="Names separated by commas.")],
    ),
    Field(min_length=1, max_length=32),
]
Attributes = Annotated[
    Names | None,
    Field(
        description="Classifier pools that judge each face, as /v1/models lists them; left out,"
        " none."
    ),
]
Recognizers = Annotated[
    Names | None,
    Field(
        description="Recognizer pools to ask, as /v1/models lists them; left out, the graph's"
        " defaults."
    ),
]
Faces = Annotated[
    FaceChoice,
    Field(description="Only the face with the largest box, or every face of the photo."),
]


LIVENESS = Field(
    description="Decide whether each face is live; the graph's configuration names the classifiers"
    " that do."
)


class DetectOptions(Schema):
    attributes: Attributes = None


FACES_ALONE = DetectOptions()


class DetectRequest(DetectOptions):
    image: ImageFile


class EmbedOptions(Schema):
    recognizers: Recognizers = None
    faces: Faces = "largest"
    attributes: Attributes = None
    liveness: Annotated[bool, LIVENESS] = False


class EmbedRequest(EmbedOptions):
    image: ImageFile


class CompareOptions(Schema):
    recognizers: Recognizers = None
    threshold: Annotated[
        float | None,
        Field(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="Cosine from which two faces match; left out, each recognizer's own.",
        ),
        BeforeValidator(no_boolean),
    ] = None
    faces: Annotated[
        FaceChoice,
        Field(description="Compare with the target's largest face, or with each of its faces."),
    ] = "largest"
    source_face: Annotated[
        int | None,
        Field(
            ge=0,
            description="The source's face to compare: its index in the answer of /v1/detect. Left"
            " out, the source's largest face.",
        ),
        BeforeValidator(no_boolean),
    ] = None

    liveness: Annotated[
        LivenessPhotos | None,
        Field(
            description="Decide whether the compared faces are live. true: of both photos; target:"
            " of that one alone, as the photo of a document is not live."
        ),
        BeforeValidator(_liveness_photos, json_schema_input_type=bool | LivenessPhotos | None),
    ] = None


class CompareRequest(CompareOptions):
    source: ImageFile
    target: ImageFile


class ImageSize(Schema):
    width: int = Field(description="Pixels, as the user sees the photo (EXIF orientation applied).")
    height: int
    truncated: bool = Field(
        default=False,
        description="The file is cut off: its last rows, and faces in them, are missing.",
    )
    searched_down_to_px: float = Field(
        default=0.0,
        description="Side in px of the smallest face that was searched for; smaller ones may be"
        " missing.",
    )


class Attribute(Schema):
    """One classifier's judgement of a face."""

    labels: list[str] = Field(
        description="What holds. By softmax the label of the highest score; else those with a score"
        " of 0.5 or more. Empty where nothing can be told."
    )
    scores: dict[str, float] = Field(description="0 to 1, by label.")
    uncertain_because: list[str] = Field(
        description="Reasons in words why nothing can be told of this face; the scores then say"
        " nothing."
    )


class Liveness(Schema):
    decision: Literal["live", "spoof", "uncertain"] = Field(
        description="uncertain: the photo shows too little of the face or its surroundings."
    )
    score: float | None = Field(description="0 to 1; the mean over the classifiers.")
    threshold: float = Field(description="Lowest score of a live face.")
    uncertain_because: list[str] = Field(description="Reasons in words.")


class Face(Schema):
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels.")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    landmarks: list[tuple[float, float]] = Field(
        min_length=5,
        max_length=5,
        description="x, y in pixels of the left eye, right eye, nose, left and right mouth corner"
        " as seen in the photo.",
    )
    roll: float | None = Field(
        default=None,
        ge=-180,
        le=180,
        description="Degrees by which the face is turned clockwise in the photo; 0 is upright.",
    )
    quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Fitness for recognition, 0 to 1. In /v1/detect, of what the image alone"
        " tells: size, sharpness, pose. In the other answers also of the embeddings: the lowest"
        " over the recognizers that were asked. null if not measured.",
    )
    reasons: list[Reason] = Field(
        default_factory=list,
        description="Faults that lower the quality; empty for a good face.",
    )
    liveness: Liveness | None = Field(
        default=None,
        description="Only in answers to requests for it.",
        exclude_if=lambda value: value is None,
    )
    attributes: dict[str, Attribute] = Field(
        default_factory=dict,
        description="By classifier; only in answers to requests for them.",
        exclude_if=lambda value: not value,
    )


class Timing(Schema):
    stage: str
    image: str | None = Field(description="The request's field; null for work on several images.")
    start_ms: float = Field(description="Since the request reached the graph.")
    duration_ms: float


class DetectResponse(Schema):
    image: ImageSize
    faces: list[Face] = Field(description="By falling score.")
    timings: list[Timing]


class FaceEmbedding(Schema):
    embedding: list[float] = Field(
        description="The recognizer's numbers, 512 of those in the catalogue; L2 norm 1."
    )
    uncertainty: float | None = Field(
        description="Larger is less certain; null where the recognizer gives none."
    )
    version: str | None = Field(
        default=None,
        description="The recognizer's model and weights: catalogue id, @, the start of the weights'"
        " SHA-256. Store it with the embedding: only embeddings of one version can be compared.",
    )
    quality: float | None = Field(
        default=None, description="The face's, by this recognizer; null if not measured."
    )


class EmbeddedFace(Face):
    embeddings: dict[str, FaceEmbedding] = Field(description="By recognizer.")


Ambiguous = Annotated[
    dict[str, int],
    Field(
        default_factory=dict,
        description="By the photo's field: the number of faces of about the size of the largest,"
        " which was taken, itself included. Only photos with two or more.",
    ),
]


class EmbedResponse(Schema):
    image: ImageSize
    faces: list[EmbeddedFace]
    ambiguous: Ambiguous
    timings: list[Timing]


class Score(Schema):
    similarity: float = Field(description="Cosine, -1 to 1.")
    threshold: float
    matched: bool = Field(description="Similar enough, and not uncertain.")
    decision: Decision = Field(
        description="uncertain: a face is too poor or too uncertain for the others. spoof: a face"
        " is not live, where `liveness` was asked."
    )
    uncertain_because: list[str] = Field(
        default_factory=list,
        description="Causes of the decision `uncertain` or `spoof`, in words: photo, its face's"
        " faults, the measured value and the limit.",
    )


class RecognizerScore(Score):
    source_uncertainty: float | None = Field(
        description="Larger is less certain; null where the recognizer gives none."
    )
    target_uncertainty: float | None
    source_quality: float | None = Field(default=None, description="0 to 1; null if not measured.")
    target_quality: float | None = None


class Match(Score):
    face: Face = Field(description="The target's face.")
    scores: dict[str, RecognizerScore] = Field(description="By recognizer.")


class ComparedImages(Schema):
    source: ImageSize
    target: ImageSize


class CompareResponse(Score):
    """The best match, then all of them."""

    source: Face
    target: Face = Field(description="The target's face that matches best.")
    scores: dict[str, RecognizerScore] = Field(description="By recognizer, for the best match.")
    matches: list[Match] = Field(
        description="Every compared face of the target: matches first, each group by falling margin"
        " over the threshold."
    )
    images: ComparedImages
    ambiguous: Ambiguous
    timings: list[Timing]


class ServedModel(Schema):
    stage: str
    pool: str | None = Field(description="The name that requests give in `recognizers`.")
    deployment: str
    model: str | None = Field(description="Catalogue id; null for stages without a model.")
    version: str | None = Field(
        default=None, description="A recognizer's, as its embeddings have it; else null."
    )
    title: str | None = None
    modelscope: str | None = None
    licence: str | None = None
    commercial_use: bool | None = Field(
        default=None, description="Whether the licence permits commercial use; null: not stated."
    )
    embedding_size: int | None = Field(
        default=None, description="Numbers of a recognizer's embedding; else null."
    )
    labels: list[str] | None = Field(
        default=None,
        description="A classifier's; else left out.",
        exclude_if=lambda value: not value,
    )
    threshold: float | None = None
    threshold_source: str | None = None
    max_uncertainty: float | None = Field(
        default=None, description="A face over this makes a comparison's decision uncertain."
    )
    min_quality: float | None = Field(
        default=None, description="A face under this makes a comparison's decision uncertain."
    )
    weight: float | None = Field(
        default=None, description="The pool's weight in the fusion `weighted`; else null."
    )
    preset: str | None = Field(default=None, description="The detector's preset; else null.")
    runtime: str | None
    device: str | None
    precision: str | None = Field(
        default=None, description="float32, float16 or bfloat16; null for stages without a model."
    )
    reason: str | None = Field(
        default=None, description="Reason for the runtime, device and precision, in words."
    )
    replicas: int
    available: bool
    unavailable_reason: str | None = Field(
        description="Reason that the stage cannot answer, such as missing weights."
    )


class PhotoLimits(Schema):
    max_bytes: int = Field(description="Most bytes of one photo's file.")
    max_pixels: int = Field(description="Most pixels of one photo.")


class ModelsResponse(Schema):
    models: list[ServedModel]
    fusion: Fusion = Field(
        description="Fusion of several recognizers' cosines, and of their thresholds. mean: the"
        " mean; weighted: the mean with each pool's `weight`; max: the cosine that lies furthest"
        " above its own threshold, and that threshold."
    )
    default_recognizers: list[str]
    photo_limits: PhotoLimits | None = Field(
        default=None, description="Photos beyond these limits are refused: `image_too_large`."
    )


class HealthResponse(Schema):
    status: Literal["ok"]


class ReadyResponse(HealthResponse):
    unavailable_recognizers: list[str] = Field(
        description="Pools that are configured but have no weights; the rest serve."
    )
    unavailable_classifiers: list[str] = Field(
        default_factory=list,
        description="The same of classifiers; left out if there are none.",
        exclude_if=lambda value: not value,
    )


class ErrorBody(Schema):
    code: str
    message: str
    details: dict[str, Any]


class ErrorResponse(Schema):
    error: ErrorBody
    request_id: str


# Limit on the fields, form parts, or names in a list that are validated; every route takes fewer.
MAX_FIELDS = 64
# Fields that a request may repeat; their values are joined into one list.
_NAME_LISTS = ("recognizers", "attributes")
REPEATABLE_FIELDS = (*_NAME_LISTS, "images")
_MAX_LIST_CHARACTERS = 4096
# An error tells no more faults: a list of numbers may have hundreds.
_MAX_PROBLEMS = 20
_MAX_NAME_CHARACTERS = 64

Form = TypeVar("Form", bound=BaseModel)


def validate(form: type[Form], fields: dict[str, Any]) -> Form:
    """Validate a request's fields; raises InvalidRequest, naming each field that is wrong."""
    _require_few(fields)
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        problems = [
            {"field": printable(".".join(map(str, item["loc"]))) or "body", "problem": _words(item)}
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ][:_MAX_PROBLEMS]
        raise InvalidRequest(
            "; ".join(f"{item['field']}: {item['problem']}" for item in problems),
            field=problems[0]["field"],
            problems=problems,
            fields=list(form.model_fields),
        ) from error


def printable(name: str) -> str:
    """Make a field's name from a client fit for an answer: cut it to 64 characters, and escape lone
    surrogates, which UTF-8 cannot encode."""
    return name[:_MAX_NAME_CHARACTERS].encode(errors="backslashreplace").decode()


def _words(problem: Any) -> str:
    """Return the text for one of pydantic's problems."""
    words = {"missing": "is required", "extra_forbidden": "is not a field of this route"}
    return words.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))


def _require_few(fields: dict[str, Any]) -> None:
    """Raise InvalidRequest for too many fields, or names in a list: a small body has room for
    millions, and pydantic would list their faults one by one."""
    if len(fields) > MAX_FIELDS:
        raise InvalidRequest(f"body: more than {MAX_FIELDS} fields", field="body")
    for name in _NAME_LISTS:
        value = fields.get(name)
        items = value if isinstance(value, list) else [value]
        length = sum(len(item) for item in items if isinstance(item, str))
        if len(items) > MAX_FIELDS or length > _MAX_LIST_CHARACTERS:
            raise InvalidRequest(f"{name}: more names than this route takes", field=name)
