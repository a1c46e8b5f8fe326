"""Table of the HTTP API's routes, which the ingress mounts and `graph.http.openapi` describes."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import Response

from configs.access import KeyScope
from deployments import errors
from graph.bundled import PHOTOS
from graph.http import handlers, pages
from graph.http.handlers import Graph
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

Errors = tuple[type[errors.FaceGraphError], ...]


@dataclass(frozen=True, kw_only=True)
class ApiRoute:
    """One route of the HTTP API.

    name: the operation's id in the description, and the tag `route` of the metrics.
    handler: called with the graph and the form that the route `takes`, or the request if it takes
    none, and with the client if the route has a scope; returns a model of the schema `gives`, or a
    response of the type `media_type`.
    scope: the right that a key needs, in the gallery that the path names.
    takes: the form's schema; its fields come from the path, the query and the body.
    summary, description, tag: for the API's description, where `tag` groups routes.
    errors: the errors that it may answer with; FaceGraphError itself is an unexpected one.
    path_examples: values for each parameter of the path.
    """

    path: str
    name: str
    handler: Callable[..., Awaitable[BaseModel | Response]]
    summary: str
    description: str = ""
    tag: Literal["faces", "galleries", "health", "pages"] = "faces"
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    needs_key: bool = True
    scope: KeyScope | None = None
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    media_type: str = "application/json"
    errors: Errors = ()
    path_examples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def in_path(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(re.findall(r"{(\w+)}", self.path))


_FORM_ERRORS: Errors = (
    errors.InvalidRequest,
    errors.Unauthorized,
    errors.RequestTooLarge,
    errors.ImageTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidImage,
    errors.FaceGraphError,
    errors.Overloaded,
    errors.ModelUnavailable,
    errors.DeadlineExceeded,
)
_FACE_ERRORS: Errors = (*_FORM_ERRORS, errors.UnknownRecognizer, errors.FaceNotFound)

ROUTES = (
    ApiRoute(
        method="POST",
        path="/v1/detect",
        name="detect",
        handler=handlers.detect,
        summary="Find every face of a photo",
        description="Boxes, scores and five landmarks, by falling score. A photo without a face has"
        " none: that is no error here.",
        takes=DetectRequest,
        gives=DetectResponse,
        errors=_FORM_ERRORS,
    ),
    ApiRoute(
        method="POST",
        path="/v1/embed",
        name="embed",
        handler=handlers.embed,
        summary="Embed a photo's faces",
        description="One embedding per face and recognizer, of length 1, so that the cosine of two"
        " is their dot product.",
        takes=EmbedRequest,
        gives=EmbedResponse,
        errors=_FACE_ERRORS,
    ),
    ApiRoute(
        method="POST",
        path="/v1/compare",
        name="compare",
        handler=handlers.compare,
        summary="Compare the faces of two photos",
        description="The largest face of `source` against the largest face of `target`, or against"
        " all of its faces, best first.",
        takes=CompareRequest,
        gives=CompareResponse,
        errors=_FACE_ERRORS,
    ),
    ApiRoute(
        path="/v1/models",
        name="models",
        handler=handlers.models,
        summary="The models served now",
        description="One entry per stage and recognizer pool, asked of the replicas themselves.",
        gives=ModelsResponse,
        errors=(errors.Unauthorized, errors.FaceGraphError, errors.Overloaded),
    ),
    ApiRoute(
        path="/healthz",
        name="healthz",
        tag="health",
        needs_key=False,
        handler=handlers.health,
        summary="The ingress is alive",
        description="Says nothing of the other stages.",
        gives=HealthResponse,
    ),
    ApiRoute(
        path="/readyz",
        name="readyz",
        tag="health",
        needs_key=False,
        handler=handlers.ready,
        summary="Every stage has a replica that answers",
        description="Recognizer pools without weights are listed; they keep nobody else from"
        " serving.",
        gives=ReadyResponse,
        errors=(errors.ModelUnavailable,),
    ),
    ApiRoute(
        path="/",
        name="page",
        tag="pages",
        needs_key=False,
        handler=pages.demo_page,
        summary="The demo page",
        media_type="text/html",
    ),
    ApiRoute(
        path="/docs",
        name="docs",
        tag="pages",
        needs_key=False,
        handler=pages.description_viewer,
        summary="This description, to read and to try",
        media_type="text/html",
    ),
    ApiRoute(
        path="/openapi.json",
        name="openapi",
        tag="pages",
        needs_key=False,
        handler=handlers.description,
        summary="This description",
    ),
    ApiRoute(
        path="/examples/{name}",
        name="example",
        tag="pages",
        needs_key=False,
        handler=pages.bundled_photo,
        summary="A bundled photo",
        media_type="image/jpeg",
        errors=(errors.NotFound,),
        path_examples={"name": PHOTOS},
    ),
)
