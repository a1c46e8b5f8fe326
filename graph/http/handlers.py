"""The graph's calls, and the handlers of the routes that answer JSON.

A handler takes the graph's calls, and the request's validated form or, on a route without a form,
the request. `graph/http/ingress.py` checks keys and limits and reads the form before.
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


class GraphCalls:
    """The graph's calls, traced; the same for HTTP requests and for Python handles.

    status: of the stages. description: the API's OpenAPI document.
    """

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


async def detect(graph: GraphCalls, form: DetectRequest) -> DetectResponse:
    return await graph.detect(Photo("image", form.image))


async def embed(graph: GraphCalls, form: EmbedRequest) -> EmbedResponse:
    return await graph.embed(Photo("image", form.image), form)


async def compare(graph: GraphCalls, form: CompareRequest) -> CompareResponse:
    return await graph.compare(Photo("source", form.source), Photo("target", form.target), form)


async def models(graph: GraphCalls, _: Request) -> ModelsResponse:
    return await graph.status.models()


async def health(_graph: GraphCalls, _: Request) -> HealthResponse:
    return HealthResponse(status="ok")


async def ready(graph: GraphCalls, _: Request) -> ReadyResponse:
    return await graph.status.ready()


async def description(graph: GraphCalls, _: Request) -> Response:
    return JSONResponse(graph.description)
