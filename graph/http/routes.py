"""The routes of the API as its description tells of them."""

from dataclasses import dataclass

from pydantic import BaseModel

from graph.schemas import (
    CompareRequest,
    CompareResponse,
    DetectRequest,
    DetectResponse,
    EmbedRequest,
    EmbedResponse,
    HealthResponse,
    ModelsResponse,
    ReadyResponse,
)

_FORM_ERRORS = (
    "invalid_request",
    "unauthorized",
    "request_too_large",
    "image_too_large",
    "unsupported_media_type",
    "invalid_image",
    "internal",
    "overloaded",
    "model_unavailable",
    "deadline_exceeded",
)
_FACE_ERRORS = (*_FORM_ERRORS, "unknown_recognizer", "face_not_found")


@dataclass(frozen=True)
class DescribedRoute:
    """A route that answers JSON of the schema `gives`; one that `takes` something is a POST."""

    path: str
    name: str
    summary: str
    description: str
    gives: type[BaseModel]
    takes: type[BaseModel] | None = None
    codes: tuple[str, ...] = ()
    tag: str = "faces"


ROUTES = (
    DescribedRoute(
        "/v1/detect",
        "detect",
        "Find every face of a photo",
        "Boxes, scores and five landmarks, by falling score. A photo without a face has none: that"
        " is no error here.",
        DetectResponse,
        DetectRequest,
        _FORM_ERRORS,
    ),
    DescribedRoute(
        "/v1/embed",
        "embed",
        "Embed a photo's faces",
        "One embedding per face and recognizer, of length 1, so that the cosine of two is their"
        " dot product.",
        EmbedResponse,
        EmbedRequest,
        _FACE_ERRORS,
    ),
    DescribedRoute(
        "/v1/compare",
        "compare",
        "Compare the faces of two photos",
        "The largest face of `source` against the largest face of `target`, or against all of its"
        " faces, best first.",
        CompareResponse,
        CompareRequest,
        _FACE_ERRORS,
    ),
    DescribedRoute(
        "/v1/models",
        "models",
        "The models served now",
        "One entry per stage and recognizer pool, asked of the replicas themselves.",
        ModelsResponse,
        codes=("unauthorized", "internal", "overloaded"),
    ),
    DescribedRoute(
        "/healthz",
        "healthz",
        "The ingress is alive",
        "Says nothing of the other stages.",
        HealthResponse,
        tag="health",
    ),
    DescribedRoute(
        "/readyz",
        "readyz",
        "Every stage has a replica that answers",
        "Recognizer pools without weights are listed; they keep nobody else from serving.",
        ReadyResponse,
        codes=("model_unavailable",),
        tag="health",
    ),
)
