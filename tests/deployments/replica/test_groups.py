"""Groups of requests: the parts in which photos travel, and groups of one."""

import numpy as np
import pytest

from deployments.contracts import Photo
from deployments.errors import InvalidImage
from deployments.replica.groups import in_parts, joined, only


def test_photos_travel_in_parts_that_ray_leaves_in_the_call() -> None:
    file = bytes(range(256)) * 1024
    pixels = np.arange(300 * 200 * 3, dtype=np.uint8).reshape(300, 200, 3)
    parts = in_parts([[Photo("source", file, 2), Photo("target", pixels)], [Photo("image", b"")]])
    assert len(parts) == 5
    assert max(map(len, parts)) < 102_400
    [source, target], [image] = joined(parts)
    assert (source, image) == (Photo("source", file, 2), Photo("image", b""))
    assert np.array_equal(target.content, pixels)


def test_photos_may_also_come_as_one_object() -> None:
    requests = [[Photo("image", b"")]]
    assert joined([requests]) is requests


def test_a_group_of_one_has_an_answer_or_raises_its_error() -> None:
    assert only([7]) == 7
    with pytest.raises(InvalidImage):
        only([InvalidImage("image: bad")])
