"""The documented requests of the routes of galleries, in an order in which each has its answer."""

from collections.abc import Iterator
from typing import Any

import httpx

from graph.http.api_route import ApiRoute
from graph.http.examples import request_example
from graph.http.gallery_routes import GALLERY_ROUTES

_ORDER = (
    "put_gallery",
    "list_galleries",
    "get_gallery",
    "put_person",
    "enrol",
    "list_faces",
    "search",
    "verify",
    "get_person",
    "list_persons",
    "change_person",
    "move_face",
    "merge_persons",
    "export_gallery",
    "import_lines",
    "delete_face",
    "move_person",
    "delete_person",
    "audit",
    "delete_gallery",
)


def answers(http: httpx.Client) -> Iterator[tuple[ApiRoute, httpx.Response]]:
    """Send every documented request about the gallery `staff`, which is deleted at the end."""
    routes = {route.name: route for route in GALLERY_ROUTES}
    assert set(_ORDER) == set(routes)
    for gallery in ("staff", "archive"):
        http.delete(f"/v1/galleries/{gallery}").raise_for_status()
    http.put("/v1/galleries/archive").raise_for_status()
    face, lines = "", b""
    for name in _ORDER:
        if name == "move_face":
            http.post("/v1/galleries/staff/persons", json={"id": "p-1018"}).raise_for_status()
        answer = _send(http, routes[name], face=face, lines=lines)
        yield routes[name], answer
        if name == "enrol":
            face = answer.json()["photos"][0]["face"]["id"]
        if name == "export_gallery":
            lines = answer.content


def _send(http: httpx.Client, route: ApiRoute, *, face: str, lines: bytes) -> httpx.Response:
    url = route.path.format(gallery="staff", person="p-1017", face=face)
    if route.name == "import_lines":
        headers = {"content-type": "application/x-ndjson"}
        return http.post(url, content=lines, headers=headers)
    body: Any = None
    if route.takes and route.method in ("PUT", "POST", "PATCH"):
        body = request_example(route.takes, route.in_path)
    return http.request(route.method, url, json=body)
