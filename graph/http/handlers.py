"""Handlers of the routes that answer JSON.

A handler takes the graph, and the request's validated form or, on a route without a form, the
request. `graph/http/ingress.py` has checked key and limits before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.contracts import Photo
from graph.pipeline.galleries import Galleries
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.status import GraphStatus
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


@dataclass(frozen=True)
class Graph:
    """The parts of the graph that handlers call; `description` is the API's OpenAPI document."""

    pipeline: Pipeline
    galleries: Galleries
    status: GraphStatus
    description: Mapping[str, Any]


async def detect(graph: Graph, form: DetectRequest) -> DetectResponse:
    return await graph.pipeline.detect(Photo("image", form.image), form)


async def embed(graph: Graph, form: EmbedRequest) -> EmbedResponse:
    return await graph.pipeline.embed(Photo("image", form.image), form)


async def compare(graph: Graph, form: CompareRequest) -> CompareResponse:
    source, target = Photo("source", form.source), Photo("target", form.target)
    return await graph.pipeline.compare(source, target, form)


async def models(graph: Graph, _: Request) -> ModelsResponse:
    return await graph.status.models()


async def health(_graph: Graph, _: Request) -> HealthResponse:
    return HealthResponse(status="ok")


async def ready(graph: Graph, _: Request) -> ReadyResponse:
    return await graph.status.ready()


async def description(graph: Graph, _: Request) -> Response:
    return JSONResponse(graph.description)
