"""The ASGI application around the routes: what holds for every answer, errors included."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from configs.access import AccessConfig
from graph.headers import SecurityHeaders
from graph.request_log import RequestLog


class HttpApp(Starlette):
    """Starlette keeps its answer to what nobody foresaw outside of all middleware; these two are
    around that as well."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(RequestLog(super().build_middleware_stack()))


def cors(config: AccessConfig) -> list[Middleware]:
    """Nothing where no origin is allowed: browsers then keep answers from other sites' pages."""
    if not config.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )
    ]
