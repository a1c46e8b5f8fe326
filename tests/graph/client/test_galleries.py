"""The client's calls about galleries are the routes', and their options are checked at once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deployments.errors import InvalidRequest
from graph.client.galleries import Galleries
from graph.client.transport import Call, GalleryCall
from graph.http.gallery_routes import GALLERY_ROUTES
from tests.support.photos import YAOMING, photo_bytes

ROUTES = {route.name: route for route in GALLERY_ROUTES}
PHOTO = photo_bytes(YAOMING)


class Recording:
    """A transport that keeps the calls, and answers none."""

    def __init__(self) -> None:
        self.calls: list[GalleryCall[Any]] = []

    def send(self, call: Call[Any]) -> Any:
        assert isinstance(call, GalleryCall)
        self.calls.append(call)

    async def send_async(self, call: Call[Any]) -> Any:
        return self.send(call)

    def stream(self, call: GalleryCall[Any]) -> Iterator[bytes]:
        self.calls.append(call)
        return iter(())

    def close(self) -> None: ...

    async def close_async(self) -> None: ...


def sent(call: Callable[[Galleries], object]) -> GalleryCall[Any]:
    transport = Recording()
    call(Galleries(transport))
    (recorded,) = transport.calls
    return recorded


CALLS: list[Callable[[Galleries], object]] = [
    lambda galleries: galleries.list(),
    lambda galleries: galleries.create("staff", threshold=0.4, policy="strict"),
    lambda galleries: galleries.get("staff"),
    lambda galleries: galleries.delete("staff"),
    lambda galleries: galleries.add_person("staff", "p-1", name="A", metadata={"floor": 3}),
    lambda galleries: galleries.persons("staff", limit=5, cursor="c", filter={"floor": 3}),
    lambda galleries: galleries.person("staff", "p-1"),
    lambda galleries: galleries.change_person("staff", "p-1", name=None),
    lambda galleries: galleries.delete_person("staff", "p-1"),
    lambda galleries: galleries.merge("staff", "p-1", "p-2"),
    lambda galleries: galleries.move_person("staff", "p-1", "archive"),
    lambda galleries: galleries.enrol("staff", "p-1", [PHOTO, PHOTO]),
    lambda galleries: galleries.faces("staff", "p-1"),
    lambda galleries: galleries.delete_face("staff", "p-1", "f-1"),
    lambda galleries: galleries.move_face("staff", "p-1", "f-1", "p-2"),
    lambda galleries: galleries.search("staff", PHOTO, faces="all", top_k=1),
    lambda galleries: galleries.verify("staff", "p-1", PHOTO, threshold=0.5),
    lambda galleries: galleries.audit("staff", limit=5, cursor="17"),
    lambda galleries: list(galleries.export("staff")),
    lambda galleries: galleries.import_lines("staff", b"{}\n"),
]


def test_every_call_is_a_route_and_its_options_are_of_the_routes_form() -> None:
    names = set()
    for call in map(sent, CALLS):
        route = ROUTES[call.name]
        names.add(call.name)
        assert (call.method, call.path) == (route.method, route.path)
        assert call.answer is route.gives or route.gives is None
        assert route.takes
        assert call.options
        photos = {"image": PHOTO, "images": [PHOTO]}
        fields = {name: photos[name] for name in route.takes.model_fields if name in photos}
        route.takes.model_validate(call.options.model_dump(exclude_unset=True) | fields)
    assert names == set(ROUTES)


def test_a_new_persons_id_is_made_before_the_first_try() -> None:
    ids = {
        sent(lambda galleries: galleries.add_person("staff")).options.id  # type: ignore[union-attr]
        for _ in range(2)
    }
    assert len(ids) == 2
    assert None not in ids


def test_a_change_tells_null_from_a_field_left_out() -> None:
    options = sent(lambda galleries: galleries.change_person("staff", "p-1", name=None)).options
    assert options
    assert options.model_dump(exclude_unset=True) == {
        "gallery": "staff",
        "person": "p-1",
        "name": None,
    }


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (lambda galleries: galleries.get("No Gallery"), "gallery"),
        (lambda galleries: galleries.person("staff", "a/b"), "person"),
        (lambda galleries: galleries.change_person("staff", "p-1", colour="red"), "colour"),
        (lambda galleries: galleries.search("staff", embedding=[]), "embedding"),
        (lambda galleries: galleries.create("staff", threshold=2), "threshold"),
        (lambda galleries: galleries.audit("staff", cursor="newest"), "cursor"),
    ],
)
def test_a_wrong_option_is_refused_before_it_is_sent(
    wrong: Callable[[Galleries], object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(wrong)
    assert caught.value.details["field"] == field
