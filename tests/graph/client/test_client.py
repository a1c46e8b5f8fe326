"""The Python client against the running graph."""

import asyncio

import numpy as np
import pytest

from deployments.errors import FaceNotFound, InvalidImage, InvalidRequest, ModelUnavailable
from graph import FaceGraph
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes, photo_path


def test_compare_takes_paths_bytes_and_arrays_alike(client: FaceGraph) -> None:
    by_path = client.compare(photo_path(YAOMING), str(photo_path(GDP)))
    by_bytes = client.compare(photo_bytes(YAOMING), photo_bytes(GDP))
    by_array = client.compare(photo(YAOMING), photo(GDP))
    assert by_path.similarity == pytest.approx(by_bytes.similarity, abs=1e-6)
    assert by_path.similarity == pytest.approx(by_array.similarity, abs=1e-4)
    assert not by_path.matched


def test_compare_finds_the_man_among_all_faces(client: FaceGraph) -> None:
    answer = client.compare(photo_path(YAOMING), photo_path(PLAYERS), faces="all")
    assert answer.target.box == pytest.approx((719, 139, 763, 192), abs=2)
    assert answer.matched


def test_embed_and_detect_answer_as_over_http(client: FaceGraph) -> None:
    assert len(client.detect(photo_path(GDP)).faces) == 6
    embedded = client.embed(photo(YAOMING), recognizers=["second"])
    vector = np.asarray(embedded.faces[0].embeddings["second"].embedding)
    assert vector.shape == (512,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_models_are_listed(client: FaceGraph) -> None:
    assert client.models().default_recognizers == ["arcface"]


def test_errors_are_raised_as_the_contract_names_them(client: FaceGraph) -> None:
    with pytest.raises(FaceNotFound, match="target: no face found"):
        client.compare(photo(YAOMING), np.full((100, 100, 3), 90, np.uint8))
    with pytest.raises(InvalidImage, match="image: not a readable"):
        client.detect(b"text")
    with pytest.raises(InvalidImage, match=r"expected uint8 \(H, W, 3\)"):
        client.detect(np.zeros((10, 10), np.int64))
    with pytest.raises(InvalidRequest, match="threshold"):
        client.compare(photo(YAOMING), photo(YAOMING), threshold=2)


def test_a_file_that_is_not_there_is_the_callers_own_error(client: FaceGraph) -> None:
    with pytest.raises(FileNotFoundError):
        client.detect("nowhere.jpg")


def test_an_application_that_is_not_there_is_named(client: FaceGraph) -> None:
    assert client
    with pytest.raises(ModelUnavailable, match="'another'"):
        FaceGraph.connect("another")


def test_async_calls_run_side_by_side(client: FaceGraph) -> None:
    async def both() -> list[float]:
        calls = [client.compare_async(photo(YAOMING), photo(name)) for name in (YAOMING, GDP)]
        return [answer.similarity for answer in await asyncio.gather(*calls)]

    same, other = asyncio.run(both())
    assert same == pytest.approx(1, abs=1e-5)
    assert other < 0.35


def test_async_errors_are_the_same(client: FaceGraph) -> None:
    with pytest.raises(InvalidImage):
        asyncio.run(client.detect_async(b""))
    embedded = asyncio.run(client.embed_async(photo(GDP), faces="all"))
    assert len(embedded.faces) == 6
    assert len(asyncio.run(client.detect_async(photo(GDP))).faces) == 6
    assert asyncio.run(client.models_async()).models
