"""A route of the HTTP API: its handler, and its description."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from configs.access import KeyScope
from deployments import errors

Errors = tuple[type[errors.FaceGraphError], ...]
# Errors of every route that needs a key, and of one that takes a body or photos.
KEY_ERRORS: Errors = (errors.Unauthorized, errors.FaceGraphError, errors.Overloaded)
FORM_ERRORS: Errors = (
    *KEY_ERRORS,
    errors.InvalidRequest,
    errors.RequestTooLarge,
    errors.UnsupportedMediaType,
    errors.ModelUnavailable,
    errors.DeadlineExceeded,
)
PHOTO_FORM_ERRORS: Errors = (*FORM_ERRORS, errors.ImageTooLarge, errors.InvalidImage)


@dataclass(frozen=True, kw_only=True)
class ApiRoute:
    """One route of the HTTP API.

    name: the operation's id in the description, and the tag `route` of the metrics.
    handler: called with the graph and the form that the route `takes`, or the request if it takes
    none, and with the client if the route has scopes; returns a model of the schema `gives`, or a
    response of the type `media_type`.
    scopes: a key needs one of these rights, in the gallery that the path names.
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
    scopes: tuple[KeyScope, ...] = ()
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    media_type: str = "application/json"
    errors: Errors = ()
    path_examples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def in_path(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(re.findall(r"{(\w+)}", self.path))
