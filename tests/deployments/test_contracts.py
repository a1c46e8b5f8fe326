"""Pickling of the data types passed between stages."""

import pickle

import numpy as np
import pytest

from deployments.contracts import Photo

FILE = Photo("source", b"not a photo" * 100_000, "largest", 2.5)


def test_a_file_travels_beside_the_pickle_and_arrives_as_it_was() -> None:
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(FILE, protocol=5, buffer_callback=buffers.append)
    assert len(pickled) < 200
    assert [buffer.raw().nbytes for buffer in buffers] == [len(FILE.content)]
    assert pickle.loads(pickled, buffers=[memoryview(buffer) for buffer in buffers]) == FILE


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_file_travels_inside_of_the_pickle_too(protocol: int) -> None:
    arrived = pickle.loads(pickle.dumps(FILE, protocol=protocol))
    assert arrived == FILE
    assert isinstance(arrived.content, bytes)


@pytest.mark.parametrize("protocol", [4, 5])
def test_pixels_travel_as_they_are(protocol: int) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    arrived = pickle.loads(pickle.dumps(Photo("image", pixels), protocol=protocol))
    assert (arrived.field, arrived.faces, arrived.time_left_s) == ("image", "all", None)
    np.testing.assert_array_equal(arrived.content, pixels)
