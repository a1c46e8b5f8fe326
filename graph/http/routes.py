"""Table of the HTTP API's routes, which the ingress mounts and `graph.http.openapi` describes."""

from deployments import errors
from graph.bundled import PHOTOS
from graph.http import handlers, pages
from graph.http.api_route import KEY_ERRORS, PHOTO_FORM_ERRORS, ApiRoute, Errors
from graph.http.gallery_routes import GALLERY_ROUTES
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

_FACE_ERRORS: Errors = (
    *PHOTO_FORM_ERRORS,
    errors.UnknownRecognizer,
    errors.LivenessDisabled,
    errors.FaceNotFound,
)

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
        errors=(*PHOTO_FORM_ERRORS, errors.UnknownClassifier),
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
        errors=(*_FACE_ERRORS, errors.UnknownClassifier),
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
        errors=KEY_ERRORS,
    ),
    *GALLERY_ROUTES,
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
        path="/galleries",
        name="galleries_page",
        tag="pages",
        needs_key=False,
        handler=pages.galleries_page,
        summary="The page of galleries",
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
