"""Photos in cycles of garbage are collected by their bytes."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from deployments.errors import InvalidImage
from deployments.replica.memory import GarbageCollection


class Content(bytearray):
    """A photo's bytes that a weak reference may point to."""


@pytest.fixture
def no_other_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def fail_with(content: Content) -> None:
    """Fail as requests do: the error is a variable of a frame that it passes."""
    error = InvalidImage("damaged", field=f"image of {len(content)} bytes")
    raise error


@pytest.mark.usefixtures("no_other_collection")
def test_photos_that_errors_hold_are_collected_every_so_many_bytes() -> None:
    garbage, contents = GarbageCollection(every_bytes=25), []
    for _ in range(5):
        content = Content(10)
        contents.append(weakref.ref(content))
        with pytest.raises(InvalidImage):
            fail_with(content)
        del content
        garbage.released(10)
    assert [content() is None for content in contents] == [True, True, True, False, False]
