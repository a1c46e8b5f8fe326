"""FaceGraph's own errors, one class for each error code of the HTTP contract.

Stages and library functions raise them; only `graph/http/errors.py` turns them into HTTP answers.
Every class carries `code` (stable, for programs) and `status` (of the HTTP answer); every error
carries `message` (for people) and `details` (JSON-ready). They survive pickling, so they cross
processes unchanged. The first line of a class's docstring is its description in /openapi.json.
"""

from functools import partial
from typing import Any, ClassVar


class FaceGraphError(Exception):
    """The graph failed unexpectedly.

    Base class of all errors below; itself the answer to an exception that is none of them.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        # The id of the answered request, if the error came over HTTP.
        self.request_id: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = partial(type(self), self.message, **self.details)
        return rebuild, (), {"request_id": self.request_id}


class InvalidRequest(FaceGraphError):
    """A field is missing, repeated, unknown or has a value it does not take."""

    code = "invalid_request"
    status = 400


class Unauthorized(FaceGraphError):
    """The request carries no API key, an unknown one, or one that has expired."""

    code = "unauthorized"
    status = 401


class Forbidden(FaceGraphError):
    """The API key has no right to do this, or none in this gallery."""

    code = "forbidden"
    status = 403


class ImageTooLarge(FaceGraphError):
    """An image has more bytes or pixels than the configured limits."""

    code = "image_too_large"
    status = 413


class RequestTooLarge(FaceGraphError):
    """The request's body is longer than the configured limit."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaType(FaceGraphError):
    """The body or an image is of a type that is not served."""

    code = "unsupported_media_type"
    status = 415


class InvalidImage(FaceGraphError):
    """The bytes are not a readable image."""

    code = "invalid_image"
    status = 422


class FaceNotFound(FaceGraphError):
    """An image that must show a face shows none."""

    code = "face_not_found"
    status = 422


class UnknownRecognizer(FaceGraphError):
    """The request names a recognizer that this graph does not serve."""

    code = "unknown_recognizer"
    status = 404


class UnknownClassifier(FaceGraphError):
    """The request names an attribute that this graph does not serve."""

    code = "unknown_classifier"
    status = 404


class LivenessDisabled(FaceGraphError):
    """No liveness is decided here: `classifiers` and `liveness` in the configuration do."""

    code = "liveness_disabled"
    status = 404


class GalleriesDisabled(FaceGraphError):
    """Galleries are switched off: `gallery.enabled` in the configuration switches them on."""

    code = "galleries_disabled"
    status = 404


class UnknownGallery(FaceGraphError):
    """There is no gallery of that id."""

    code = "unknown_gallery"
    status = 404


class UnknownPerson(FaceGraphError):
    """The gallery has no person of that id."""

    code = "unknown_person"
    status = 404


class UnknownFace(FaceGraphError):
    """The person has no face of that id."""

    code = "unknown_face"
    status = 404


class GalleryConflict(FaceGraphError):
    """The id is another gallery's or person's already, or the gallery's recognizer is another."""

    code = "gallery_conflict"
    status = 409


class WrongModel(FaceGraphError):
    """The embedding is of another model or weights than the gallery's."""

    code = "wrong_model"
    status = 409


class GalleryFull(FaceGraphError):
    """The gallery, or the database, holds as much as the configured limits allow."""

    code = "gallery_full"
    status = 409


class GalleryUnavailable(FaceGraphError):
    """The galleries' database cannot answer now; trying again later may work."""

    code = "gallery_unavailable"
    status = 503


class GalleryDiskFull(GalleryUnavailable):
    """The disk of the galleries' database has no room; searches go on."""

    code = "gallery_disk_full"


class Overloaded(FaceGraphError):
    """The queues are full; trying again later may work."""

    code = "overloaded"
    status = 503


class ModelUnavailable(FaceGraphError):
    """A model cannot answer now: its weights are missing or its replicas are gone."""

    code = "model_unavailable"
    status = 503


class DeadlineExceeded(FaceGraphError):
    """The answer was not ready within the request's time."""

    code = "deadline_exceeded"
    status = 504


class InvalidWeights(FaceGraphError):
    """A weights file does not fit the network that it is meant for."""

    code = ModelUnavailable.code
    status = ModelUnavailable.status


class InvalidConfig(FaceGraphError):
    """A configuration file has a key or a value that it must not have; no request raises it."""

    code = "invalid_config"


class UnexpectedAnswer(FaceGraphError):
    """A server's answer is not FaceGraph's; only the HTTP client raises it."""

    code = "unexpected_answer"


class RoutingError(FaceGraphError):
    """No route answers this path or method; only the HTTP server answers with it.

    `error_class` leaves its classes out: the HTTP client reports a wrong URL as UnexpectedAnswer.
    """


class NotFound(RoutingError):
    """There is nothing of that name."""

    code = "not_found"
    status = 404


class MethodNotAllowed(RoutingError):
    """The route takes another method."""

    code = "method_not_allowed"
    status = 405


# Errors that a photo causes that is alone in its request: a job over many photos records them and
# goes on. DeadlineExceeded is not among them, since a busy graph causes it as well.
PHOTO_ERRORS = (FaceNotFound, InvalidImage, ImageTooLarge, RequestTooLarge, UnsupportedMediaType)


def error_class(code: str) -> type[FaceGraphError] | None:
    """Return the class that the Python client raises for a code, or None. ModelUnavailable comes
    before InvalidWeights, which has the same code."""
    known: list[type[FaceGraphError]] = [
        FaceGraphError,
        *FaceGraphError.__subclasses__(),
        *GalleryUnavailable.__subclasses__(),
    ]
    return next((kind for kind in known if kind.code == code), None)
