"""The errors that FaceGraph raises on purpose, one class for each code of the HTTP contract.

Stages and library functions raise them; only `graph/http/errors.py` turns them into HTTP answers.
Every class carries `code` (stable, for programs), `message` (for people) and `details`
(JSON-ready). They survive pickling, so they cross processes unchanged.
"""

from typing import Any, ClassVar


class FaceGraphError(Exception):
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        # The answered request's, where the error came over HTTP.
        self.request_id: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"request_id": self.request_id}
        return _rebuild, (type(self), self.message, self.details), state


def _rebuild(kind: type[FaceGraphError], message: str, details: dict[str, Any]) -> FaceGraphError:
    return kind(message, **details)


class InvalidRequest(FaceGraphError):
    """A field is missing, repeated, unknown or has a value it does not take."""

    code = "invalid_request"


class Unauthorized(FaceGraphError):
    """The request carries no API key, or none that is known."""

    code = "unauthorized"


class ImageTooLarge(FaceGraphError):
    """An image has more bytes or pixels than the configured limits."""

    code = "image_too_large"


class RequestTooLarge(FaceGraphError):
    """The request's body is longer than the configured limit."""

    code = "request_too_large"


class UnsupportedMediaType(FaceGraphError):
    """The body or an image is of a type that is not served."""

    code = "unsupported_media_type"


class InvalidImage(FaceGraphError):
    """The bytes are not a readable image."""

    code = "invalid_image"


class FaceNotFound(FaceGraphError):
    """An image that must show a face shows none."""

    code = "face_not_found"


class UnknownRecognizer(FaceGraphError):
    """The request names a recognizer that this graph does not serve."""

    code = "unknown_recognizer"


class Overloaded(FaceGraphError):
    """The queues are full; trying again later may work."""

    code = "overloaded"


class ModelUnavailable(FaceGraphError):
    """A model cannot answer now: its weights are missing or its replicas are gone."""

    code = "model_unavailable"


class DeadlineExceeded(FaceGraphError):
    """The answer was not ready within the request's time."""

    code = "deadline_exceeded"


class InvalidWeights(FaceGraphError):
    """A weights file does not fit the network that it is meant for."""

    code = "model_unavailable"


class InvalidConfig(FaceGraphError):
    """A configuration file has a key or a value that it must not have."""

    code = "invalid_config"


class UnexpectedAnswer(FaceGraphError):
    """What answered at the URL does not speak as FaceGraph does."""

    code = "unexpected_answer"


def error_class(code: str) -> type[FaceGraphError] | None:
    """The class of a code that an answer carries; of two, the one above the other here."""
    if code == FaceGraphError.code:
        return FaceGraphError
    known = FaceGraphError.__subclasses__()
    return next((kind for kind in known if kind.code == code), None)
