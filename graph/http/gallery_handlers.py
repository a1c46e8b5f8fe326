"""Handlers of the routes of galleries.

A handler takes the graph, the request's form and the client, whose scopes the ingress has checked.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from deployments.contracts import Photo
from graph.gallery_schemas import (
    NDJSON,
    GalleriesOptions,
    GalleriesResponse,
    GalleryOptions,
    MoveOptions,
    PersonResponse,
)
from graph.http.access import require_gallery
from graph.http.handlers import Graph
from graph.http.keys import Client

Handler = Callable[[Graph, Any, Client], Awaitable[BaseModel | Response]]

# The fields of forms that have one photo each.
_PHOTOS = ("image", "source", "target")


def without_photos(method: Callable[..., Awaitable[BaseModel]]) -> Handler:
    """The handler that calls a method of `Galleries` with the form."""

    async def handler(graph: Graph, form: BaseModel, client: Client) -> BaseModel:
        return await method(graph.galleries, form, key=client.name)

    return handler


def with_photos(method: Callable[..., Awaitable[BaseModel]]) -> Handler:
    """The handler that calls a method of `Galleries` with the form and its photos."""

    async def handler(graph: Graph, form: BaseModel, client: Client) -> BaseModel:
        return await method(graph.galleries, form, photos_of(form), key=client.name)

    return handler


async def list_galleries(graph: Graph, form: GalleriesOptions, client: Client) -> GalleriesResponse:
    found = await graph.galleries.list_galleries(form, key=client.name)
    return GalleriesResponse(galleries=[one for one in found.galleries if client.reaches(one.id)])


async def move_person(graph: Graph, form: MoveOptions, client: Client) -> PersonResponse:
    """A key must reach the gallery to which the person goes, too."""
    require_gallery(client, form.to)
    return await graph.galleries.move_person(form, key=client.name)


async def export_gallery(graph: Graph, form: GalleryOptions, client: Client) -> Response:
    lines = await graph.galleries.export_gallery(form, key=client.name)
    return StreamingResponse(lines, media_type=NDJSON)


def photos_of(form: BaseModel) -> list[Photo]:
    """The form's photos, each with the name of its field."""
    named = [(name, getattr(form, name, None)) for name in _PHOTOS]
    listed = [(f"images.{i}", image) for i, image in enumerate(getattr(form, "images", ()))]
    return [Photo(name, image) for name, image in [*named, *listed] if image is not None]
