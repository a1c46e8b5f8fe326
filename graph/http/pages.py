"""Static files: the demo page, the viewer of the API's description, and the bundled photos."""

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
    """Static files that browsers cache but revalidate by ETag: an upgrade shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def demo_page(_: object, request: Request) -> Response:
    return await _respond(_FOLDER / "index.html", request)


async def galleries_page(_: object, request: Request) -> Response:
    return await _respond(_FOLDER / "galleries.html", request)


async def description_viewer(_: object, request: Request) -> Response:
    return await _respond(_FOLDER / "docs.html", request)


async def bundled_photo(_: object, request: Request) -> Response:
    """Send a photo; 404 if `graph.bundled.PHOTOS` lacks it or the photos are not installed."""
    path = example_photo(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    return await _respond(path, request)


def page_files() -> list[Route]:
    """Return the routes of the scripts, styles and images of the two pages.

    Pages refer to everything by relative addresses, so they work under any route prefix.
    """
    # fastapi-offline ships Swagger UI; only its files are used, the package is not imported.
    viewer = Path(str(distribution("fastapi-offline").locate_file("fastapi_offline/static")))
    parts = sorted(path.name for path in _FOLDER.iterdir() if path.suffix != ".html")
    return [
        *(_file_route("/page", _FOLDER / name) for name in parts),
        *(_file_route("/viewer", viewer / name) for name in _VIEWER),
    ]


def _file_route(prefix: str, path: Path) -> Route:
    async def get(request: Request) -> Response:
        return await _respond(path, request)

    return Route(f"{prefix}/{path.name}", get)


async def _respond(path: Path, request: Request) -> Response:
    """Send the file, or 304 if the browser has it already."""
    return await _Files(directory=path.parent).get_response(path.name, request.scope)
