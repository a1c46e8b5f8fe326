"""The demo page, the description's viewer and the bundled photos: files, and no more than that."""

from collections.abc import Awaitable, Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from graph.bundled import example_photo

_FOLDER = Path(__file__).parent / "page"
_VIEWER = ("swagger-ui.css", "swagger-ui-bundle.js")


class _Files(StaticFiles):
    """Files that a browser may keep, but asks after each time (by their ETag): an upgrade shows at
    once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def page_routes() -> list[Route]:
    """Pages refer to everything by relative addresses, so they work under any route prefix."""
    # Swagger UI, as fastapi-offline ships it; the package is not imported.
    viewer = Path(str(distribution("fastapi-offline").locate_file("fastapi_offline/static")))
    parts = sorted(path.name for path in _FOLDER.iterdir() if path.suffix != ".html")
    return [
        Route("/", _file(_FOLDER / "index.html")),
        Route("/docs", _file(_FOLDER / "docs.html")),
        Route("/examples/{name}", _get_example),
        *(Route(f"/page/{name}", _file(_FOLDER / name)) for name in parts),
        *(Route(f"/viewer/{name}", _file(viewer / name)) for name in _VIEWER),
    ]


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    files = _Files(directory=path.parent)

    async def get(request: Request) -> Response:
        return await files.get_response(path.name, request.scope)

    return get


async def _get_example(request: Request) -> Response:
    path = example_photo(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    return await _file(path)(request)
