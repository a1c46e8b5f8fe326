"""The HTTP routes, and the same calls for Python handles. No model code."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from configs.graph import GraphConfig
from deployments.contracts import Photo
from graph.http.access import Access
from graph.http.admission import Admission, BodyMemory
from graph.http.errors import error_handlers
from graph.http.forms import read_form
from graph.http.middleware import HttpApp, RequestRecord, cors
from graph.http.openapi import describe_api
from graph.http.pages import page_routes
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.stages import Stages
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
    Form,
    HealthResponse,
    ModelsResponse,
)
from graph.serve_private import http_host
from graph.tracing import traced


@serve.deployment(name="Ingress")
@serve.ingress()
class Ingress:
    """`detect`, `embed`, `compare` and `models` are also called by `graph.client` by handle."""

    def __init__(
        self,
        config: GraphConfig,
        detector: DeploymentHandle[Any],
        aligner: DeploymentHandle[Any],
        recognizers: dict[str, DeploymentHandle[Any]],
        aggregator: DeploymentHandle[Any],
    ) -> None:
        stages = Stages(detector, aligner, recognizers, aggregator)
        self._config = config
        self._metrics = RequestMetrics()
        self._pipeline = Pipeline(config, stages, self._metrics)
        self._status = GraphStatus(config, stages, serve.get_replica_context().app_name)
        self._access = Access(config.access, http_host())
        self._api = describe_api()
        self._bodies = BodyMemory(config.request_limits.max_bytes_in_flight)
        self._admission = Admission(config.request_limits)

    def __serve_build_asgi_app__(self) -> HttpApp:
        handlers = error_handlers(self._config.request_limits.retry_after_s)
        middleware = cors(self._config.access)
        return HttpApp(routes=self._routes(), middleware=middleware, exception_handlers=handlers)

    def _routes(self) -> list[Route]:
        return [
            Route("/v1/detect", self._post_detect, methods=["POST"]),
            Route("/v1/embed", self._post_embed, methods=["POST"]),
            Route("/v1/compare", self._post_compare, methods=["POST"]),
            Route("/v1/models", self._get_models),
            Route("/healthz", self._get_health),
            Route("/readyz", self._get_ready),
            Route("/openapi.json", self._get_api),
            *page_routes(),
        ]

    async def detect(self, image: Photo) -> DetectResponse:
        with self._metrics.request("detect"), self._taken_on():
            return await traced(self._pipeline.detect(image))

    async def embed(self, image: Photo, options: EmbedOptions) -> EmbedResponse:
        with self._metrics.request("embed"), self._taken_on():
            return await traced(self._pipeline.embed(image, options))

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        with self._metrics.request("compare"), self._taken_on():
            return await traced(self._compare(source, target, options))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `graph.autoscaling` reads. All of an ingress replica's Python is on one thread."""
        admission = self._admission
        counts = {"arrived": admission.arrived, "finished": admission.finished}
        return counts | {"busy_s": time.process_time(), "workers": 1}

    async def models(self) -> ModelsResponse:
        return await self._status.models()

    async def _post_detect(self, request: Request) -> Response:
        async def answer(form: DetectRequest) -> DetectResponse:
            return await traced(self._pipeline.detect(Photo("image", form.image)))

        return await self._answer("detect", request, DetectRequest, answer)

    async def _post_embed(self, request: Request) -> Response:
        async def answer(form: EmbedRequest) -> EmbedResponse:
            return await traced(self._pipeline.embed(Photo("image", form.image), form))

        return await self._answer("embed", request, EmbedRequest, answer)

    async def _post_compare(self, request: Request) -> Response:
        async def answer(form: CompareRequest) -> CompareResponse:
            source, target = Photo("source", form.source), Photo("target", form.target)
            return await traced(self._compare(source, target, form))

        return await self._answer("compare", request, CompareRequest, answer)

    async def _get_models(self, request: Request) -> Response:
        with self._access.admitted(request):
            return _json(await self._status.models())

    async def _get_health(self, request: Request) -> Response:
        return _json(HealthResponse(status="ok"))

    async def _get_ready(self, request: Request) -> Response:
        return _json(await self._status.ready())

    async def _get_api(self, request: Request) -> Response:
        return JSONResponse(self._api)

    @contextmanager
    def _taken_on(self) -> Iterator[None]:
        with self._admission.admitted(), self._admission.worked_on():
            yield

    async def _compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        answer = await self._pipeline.compare(source, target, options)
        self._metrics.compared(answer)
        return answer

    async def _answer(
        self,
        route: str,
        request: Request,
        form: type[Form],
        answer: Callable[[Form], Awaitable[DetectResponse | EmbedResponse | CompareResponse]],
    ) -> Response:
        limits = self._config.request_limits
        with (
            self._metrics.request(route),
            self._access.admitted(request),
            self._admission.admitted(),
            self._bodies.share() as body,
        ):
            fields = await read_form(request, form, limits, body)
            with self._admission.worked_on():
                given = await answer(fields)
            RequestRecord.of(request.scope).timings = given.timings
            return _json(given)


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
