"""Reading a CompreFace server, one that answers as its API is documented."""

import re
from contextlib import closing

import pytest

from deployments.errors import (
    FaceGraphError,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
    Unauthorized,
)
from deployments.gallery.contracts import ID
from graph.batch.compreface import CompreFace
from graph.batch.enrolment import person_id
from tests.support.compreface import KEY, compreface

IMAGES = {
    "6b135f5b": ("p-1017", b"first"),
    "1a2b3c4d": ("Yao Ming", b"second"),
    "99999999": ("p-1017", b""),
}


def test_every_saved_image_is_read_by_its_subject_over_all_pages() -> None:
    with compreface(IMAGES) as url, closing(CompreFace(url, KEY)) as server:
        persons = server.persons()
        yao = person_id("Yao Ming")
        assert {person: found.name for person, found in persons.items()} == {
            "p-1017": "p-1017",
            yao: "Yao Ming",
        }
        first, lost = persons["p-1017"].photos
        assert (first.name, first.read()) == ("p-1017/6b135f5b", b"first")
        assert [photo.read() for photo in persons[yao].photos] == [b"second"]
        with pytest.raises(InvalidImage, match="99999999"):
            lost.read()


@pytest.mark.parametrize("subject", ["Yao Ming", "姚明", "a/b", "-", "x" * 200, ""])
def test_every_subject_has_an_id_of_its_own(subject: str) -> None:
    assert re.fullmatch(ID, person_id(subject))
    assert person_id(subject) == person_id(subject) != person_id(subject + " ")


@pytest.mark.parametrize(
    ("url", "key", "error"),
    [
        (None, "wrong", Unauthorized),
        ("http://127.0.0.1:1", KEY, ModelUnavailable),
        ("http://a:port", KEY, InvalidRequest),
        (None, "schlüssel-鍵", InvalidRequest),
    ],
)
def test_a_server_that_cannot_be_read_is_an_error(
    url: str | None, key: str, error: type[FaceGraphError]
) -> None:
    with compreface(IMAGES) as running, pytest.raises(error):
        CompreFace(url or running, key).persons()
