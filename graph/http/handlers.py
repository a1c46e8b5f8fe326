"""The graph's calls as HTTP requests and Python handles make them, and the handlers of JSON routes.

A handler takes the graph and the request's validated form, or the request itself on a route without
a form. Keys, limits and the form's reading are the ingress's; see `graph/http/ingress.py`.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.contracts import Photo
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.status import GraphStatus
from graph.schemas import (
    CompareOptions,
    CompareRequest,
    CompareResponse,
    DetectRequest,
    DetectResponse,
    EmbedOptions,
    EmbedRequest,
    EmbedResponse,
    HealthResponse,
    ModelsResponse,
    ReadyResponse,
)
from graph.tracing import traced


class Graph:
    """The calls of the graph, traced. `description` is the API's OpenAPI document."""

    def __init__(
        self,
        pipeline: Pipeline,
        status: GraphStatus,
        metrics: RequestMetrics,
        description: Mapping[str, Any],
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self.status = status
        self.description = description

    async def detect(self, image: Photo) -> DetectResponse:
        return await traced(self._pipeline.detect(image))

    async def embed(self, image: Photo, options: EmbedOptions) -> EmbedResponse:
        return await traced(self._pipeline.embed(image, options))

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        answer = await traced(self._pipeline.compare(source, target, options))
        self._metrics.compared(answer)
        return answer


async def detect(graph: Graph, form: DetectRequest) -> DetectResponse:
    return await graph.detect(Photo("image", form.image))


async def embed(graph: Graph, form: EmbedRequest) -> EmbedResponse:
    return await graph.embed(Photo("image", form.image), form)


async def compare(graph: Graph, form: CompareRequest) -> CompareResponse:
    return await graph.compare(Photo("source", form.source), Photo("target", form.target), form)


async def models(graph: Graph, _: Request) -> ModelsResponse:
    return await graph.status.models()


async def health(_graph: Graph, _: Request) -> HealthResponse:
    return HealthResponse(status="ok")


async def ready(graph: Graph, _: Request) -> ReadyResponse:
    return await graph.status.ready()


async def description(graph: Graph, _: Request) -> Response:
    return JSONResponse(graph.description)
