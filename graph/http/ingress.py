"""The ingress deployment: admits HTTP requests and calls by handle, and answers them."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.replica.logs import guard_log
from deployments.replica.memory import return_blocks
from graph.http.access import Access, require_scope
from graph.http.admission import AdmissionControl, BodyMemory
from graph.http.api_route import ApiRoute
from graph.http.errors import error_handlers
from graph.http.forms import RETURNED_FROM_BYTES, read_form
from graph.http.gallery_handlers import photos_of
from graph.http.handlers import Graph
from graph.http.key_metrics import KeyMetrics
from graph.http.keys import Client
from graph.http.middleware import HttpApp, RequestRecord, cors
from graph.http.openapi import describe_api
from graph.http.pages import page_files
from graph.http.routes import ROUTES
from graph.pipeline.galleries import Galleries
from graph.pipeline.metrics import RequestMetrics
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.stages import Stages
from graph.pipeline.status import GraphStatus
from graph.schemas import (
    FACES_ALONE,
    CompareOptions,
    CompareResponse,
    DetectOptions,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
    ModelsResponse,
)
from graph.serve_private import http_host

# The key's name, in the audit, of a call by handle.
BY_HANDLE = "by handle"


@serve.deployment(name="Ingress")
@serve.ingress()
class Ingress:
    """Serve deployment that answers the HTTP routes of `graph.http.routes`, and the calls `detect`,
    `embed`, `compare`, `models` and `gallery` of `graph.client.handle`. It runs no model."""

    def __init__(
        self,
        config: GraphConfig,
        detector: DeploymentHandle[Any],
        aligner: DeploymentHandle[Any],
        recognizers: dict[str, DeploymentHandle[Any]],
        classifiers: dict[str, DeploymentHandle[Any]],
        aggregator: DeploymentHandle[Any],
        gallery: DeploymentHandle[Any] | None = None,
    ) -> None:
        guard_log()
        return_blocks(from_bytes=RETURNED_FROM_BYTES)
        stages = Stages(detector, aligner, recognizers, aggregator, gallery, classifiers)
        self._config = config
        self._metrics = RequestMetrics()
        pipeline = Pipeline(config, stages, self._metrics)
        self._graph = Graph(
            pipeline,
            Galleries(config, pipeline, gallery),
            GraphStatus(config, stages, serve.get_replica_context().app_name),
            describe_api(),
        )
        self._key_metrics = KeyMetrics()
        self._access = Access(config.access, http_host(), self._key_metrics.keys_read)
        self._admission = AdmissionControl(config.request_limits)
        self._bodies = BodyMemory(config.request_limits.max_bytes_in_flight)

    async def detect(self, image: Photo, options: DetectOptions = FACES_ALONE) -> DetectResponse:
        with self._handle_call("detect"):
            return await self._graph.pipeline.detect(image, options)

    async def embed(self, image: Photo, options: EmbedOptions) -> EmbedResponse:
        with self._handle_call("embed"):
            return await self._graph.pipeline.embed(image, options)

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        with self._handle_call("compare"):
            return await self._graph.pipeline.compare(source, target, options)

    async def models(self) -> ModelsResponse:
        return await self._graph.status.models()

    async def gallery(self, name: str, options: Any, photos: Sequence[Photo]) -> Any:
        """Answer a call about galleries by the method of that name of `Galleries`."""
        with self._handle_call(name):
            method = getattr(self._graph.galleries, name)
            return await method(options, *([photos] if photos else []), key=BY_HANDLE)

    async def stream_gallery(self, name: str, options: Any) -> AsyncIterator[bytes]:
        """The same for a method whose answer comes in pieces."""
        with self._handle_call(name):
            async for piece in await getattr(self._graph.galleries, name)(options, key=BY_HANDLE):
                yield piece

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return counts for `graph.autoscaling`; one thread runs all Python of the replica."""
        admission = self._admission
        return {
            "arrived": admission.arrived,
            "finished": admission.finished,
            "under_way": admission.under_way,
            "busy_s": time.process_time(),
            "workers": 1,
        }

    def __serve_build_asgi_app__(self) -> HttpApp:
        handlers = error_handlers(self._config.request_limits.retry_after_s)
        middleware = cors(self._config.access)
        return HttpApp(routes=self._routes(), middleware=middleware, exception_handlers=handlers)

    def _routes(self) -> list[Route]:
        # One of Starlette's routes for all methods of a path: its 405 tells the route's methods.
        by_path: dict[str, dict[str, ApiRoute]] = {}
        for route in ROUTES:
            by_path.setdefault(route.path, {})[route.method] = route
        api = [
            Route(path, partial(self._answer_method, routes), methods=list(routes))
            for path, routes in by_path.items()
        ]
        return api + page_files()

    async def _answer_method(self, routes: Mapping[str, ApiRoute], request: Request) -> Response:
        """routes: of the path, by method."""
        method = "GET" if request.method == "HEAD" else request.method
        return await self._answer(routes[method], request)

    async def _answer(self, route: ApiRoute, request: Request) -> Response:
        if not route.needs_key:
            return _response(await route.handler(self._graph, request))
        with (
            self._metrics.request(route.name) if route.takes else nullcontext(),
            self._key_metrics.request(RequestRecord.of(request.scope)),
            self._access.admitted(request) as client,
        ):
            if route.scopes:
                require_scope(client, route.scopes, request.path_params.get("gallery"))
            if route.takes:
                return _response(await self._answer_form(route, route.takes, request, client))
            return _response(await route.handler(self._graph, request))

    async def _answer_form(
        self, route: ApiRoute, takes: type[BaseModel], request: Request, client: Client
    ) -> BaseModel | Response:
        limits, record = self._config.request_limits, RequestRecord.of(request.scope)
        with self._admission.admitted(), self._bodies.share() as body:
            form = await read_form(request, takes, limits, body)
            record.photos = len(photos_of(form))
            caller = [client] if route.scopes else []
            with self._admission.processing():
                answer = await route.handler(self._graph, form, *caller)
        record.timings = getattr(answer, "timings", ())
        return answer

    @contextmanager
    def _handle_call(self, name: str) -> Iterator[None]:
        """Count and admit a call by handle; raises Overloaded."""
        with (
            self._metrics.request(name),
            self._admission.admitted(),
            self._admission.processing(),
        ):
            yield


def _response(answer: BaseModel | Response) -> Response:
    if isinstance(answer, Response):
        return answer
    return Response(answer.model_dump_json(), media_type="application/json")
