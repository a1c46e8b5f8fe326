"""The HTTP client against the running graph, directly and through a proxy that fails."""

import asyncio
import io
import pickle
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from deployments.errors import (
    DeadlineExceeded,
    FaceGraphError,
    FaceNotFound,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    RequestTooLarge,
    RoutingError,
    Unauthorized,
    UnexpectedAnswer,
    UnknownRecognizer,
    error_class,
)
from graph import FaceGraph
from graph.cluster.launch import RunningGraph
from graph.cluster.preflight import free_port
from graph.commands.terminal import open_graph
from tests.conftest import API_KEY
from tests.support.errors import ANSWERED
from tests.support.faulty_proxy import DROPPED, Answer, front_of
from tests.support.photos import FEW_PLAYERS, GDP, PLAYERS, YAOMING, photo, photo_bytes, photo_path

FULL = b'{"error": {"code": "overloaded", "message": "full", "details": {}}, "request_id": "7"}'
BUSY = Answer(503, FULL, {"retry-after": "0"})
HAPROXYS = Answer(500, b"Internal Server Error", {"content-type": "text/plain"})
BUG = b'{"error": {"code": "internal", "message": "a bug", "details": {}}, "request_id": "8"}'
THE_GRAPHS = Answer(500, BUG, {"content-type": "application/json"})


@pytest.fixture(scope="module")
def remote(running: RunningGraph) -> Iterator[FaceGraph]:
    with FaceGraph.over_http(running.url) as graph:
        yield graph


def told(answer: BaseModel) -> object:
    """The fields that do not change from call to call."""
    return answer.model_dump(exclude={"timings"})


def test_both_clients_answer_the_same(client: FaceGraph, remote: FaceGraph) -> None:
    photos = photo_bytes(YAOMING), photo_bytes(FEW_PLAYERS)
    assert told(remote.detect(photos[1])) == told(client.detect(photos[1]))
    by_http, by_handle = (
        graph.compare(*photos, recognizers=["second"], threshold=0.2, faces="all")
        for graph in (remote, client)
    )
    assert by_http.similarity == pytest.approx(by_handle.similarity, abs=1e-4)
    assert by_http.threshold == by_handle.threshold == 0.2
    assert by_http.source == by_handle.source
    assert len(by_http.matches) == len(by_handle.matches) > 1
    assert remote.models().default_recognizers == client.models().default_recognizers


def test_every_option_reaches_the_graph(remote: FaceGraph) -> None:
    embedded = remote.embed(photo_path(GDP), recognizers=["arcface", "second"], faces="all")
    assert [list(face.embeddings) for face in embedded.faces] == [["arcface", "second"]] * 6
    assert len(remote.embed(str(photo_path(GDP))).faces) == 1


def test_pixels_arrive_as_they_are(client: FaceGraph, remote: FaceGraph) -> None:
    assert told(remote.detect(photo(GDP))) == told(client.detect(photo(GDP)))


def test_images_of_every_kind_are_taken_alike(client: FaceGraph, remote: FaceGraph) -> None:
    grey = Image.fromarray(photo(YAOMING)[..., ::-1]).convert("L")
    kinds: list[Any] = [io.BytesIO(photo_bytes(YAOMING)), memoryview(photo_bytes(YAOMING)), grey]
    kinds += [np.asarray(grey), np.asarray(grey) / 255, np.asarray(grey).astype(np.uint16) * 257]
    for image in kinds:
        assert told(remote.detect(image)) == told(client.detect(image))
        assert len(client.detect(image).faces) == 1
    for graph in (client, remote):
        wrong: Any = None
        with pytest.raises(InvalidRequest, match=r"target: .* got NoneType") as none:
            graph.compare(photo(YAOMING), wrong)
        assert none.value.details == {"field": "target"}
        with pytest.raises(InvalidImage, match="source: expected uint8") as number:
            graph.compare(np.full((9, 9), 300.0), photo(YAOMING))
        assert number.value.details == {"field": "source"}


def test_an_array_of_twelve_megapixels_fits_the_limits(
    client: FaceGraph, remote: FaceGraph
) -> None:
    large = np.asarray(cv2.resize(photo(YAOMING), (3072, 4096)), np.uint8) // 2
    large += np.random.default_rng(0).integers(0, 8, large.shape, np.uint8)
    by_http, by_handle = (graph.embed(large) for graph in (remote, client))
    assert by_http.image == by_handle.image
    same, other = (answer.faces[0].embeddings["arcface"] for answer in (by_http, by_handle))
    assert float(np.dot(same.embedding, other.embedding)) > 0.99


def test_a_photo_that_is_cut_off_is_noted_and_refused_if_a_face_is_cut(remote: FaceGraph) -> None:
    content = photo_bytes(GDP)
    whole, shown = remote.detect(content[:-2]), remote.detect(content[: len(content) * 4 // 5])
    assert (whole.image.truncated, shown.image.truncated) == (False, True)
    assert len(shown.faces) == len(whole.faces) == 6
    assert remote.embed(content[: len(content) * 3 // 10]).image.truncated
    with pytest.raises(InvalidImage, match="image: the JPEG image is cut off"):
        remote.embed(content[: len(content) * 3 // 10], faces="all")


def test_errors_are_those_of_the_handle_client(remote: FaceGraph) -> None:
    with pytest.raises(FaceNotFound, match="target: no face found") as caught:
        remote.compare(photo(YAOMING), np.full((100, 100, 3), 90, np.uint8))
    assert caught.value.details == {"field": "target"}
    assert caught.value.request_id
    with pytest.raises(UnknownRecognizer, match="'nobody' is not served") as unknown:
        remote.embed(photo_bytes(YAOMING), recognizers=["nobody"])
    assert unknown.value.details["served"] == ["arcface", "second"]
    with pytest.raises(InvalidImage, match="image: not a readable"):
        remote.detect(b"text")
    with pytest.raises(InvalidImage, match="image: the image is empty"):
        remote.detect(b"")
    with pytest.raises(InvalidImage, match=r"expected uint8 \(H, W, 3\)"):
        remote.detect(np.zeros((10, 10), np.int64))
    with pytest.raises(InvalidRequest, match="threshold"):
        remote.compare(photo(YAOMING), photo(YAOMING), threshold=2)
    with pytest.raises(FileNotFoundError):
        remote.detect("nowhere.jpg")


def test_an_error_keeps_its_request_id_from_process_to_process() -> None:
    error = FaceNotFound("image: no face found", field="image")
    error.request_id = "7"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.details, again.request_id) == (FaceNotFound, {"field": "image"}, "7")


def test_every_answered_code_has_a_class_but_for_those_of_a_wrong_url() -> None:
    for kind in ANSWERED:
        assert error_class(kind.code) is (None if issubclass(kind, RoutingError) else kind)
    assert error_class("model_unavailable") is ModelUnavailable
    assert error_class("internal") is FaceGraphError


def test_a_key_opens_what_is_closed_without_it(running: RunningGraph) -> None:
    url = f"{running.url}/strict"
    with (
        FaceGraph.over_http(url) as anonymous,
        pytest.raises(Unauthorized, match="an API key is required"),
    ):
        anonymous.models()
    with FaceGraph.over_http(url, API_KEY) as known:
        assert known.models().models
        with pytest.raises(DeadlineExceeded):
            known.detect(photo_bytes(YAOMING))
        with pytest.raises(RequestTooLarge) as caught:
            known.detect(photo(PLAYERS))
        assert caught.value.details["max_bytes"] == 100_000


def test_a_lost_connection_and_a_busy_server_are_tried_again(running: RunningGraph) -> None:
    with (
        front_of(running.url, DROPPED, BUSY, Answer(502), Answer(503), HAPROXYS) as front,
        FaceGraph.over_http(front.url, retries=5) as graph,
    ):
        assert len(graph.detect(photo_bytes(GDP)).faces) == 6
        assert front.seen == 6
        front.plan = [BUSY, DROPPED]
        assert len(asyncio.run(graph.detect_async(photo_bytes(GDP))).faces) == 6
        assert front.seen == 9


def test_tries_are_counted_and_the_last_error_is_told(running: RunningGraph) -> None:
    with (
        front_of(running.url, *[BUSY] * 3) as front,
        FaceGraph.over_http(front.url, retries=2) as graph,
    ):
        with pytest.raises(Overloaded, match="full") as caught:
            graph.models()
        assert (caught.value.request_id, front.seen) == ("7", 3)
        front.plan = [Answer(503, FULL, {"retry-after": "3600"})]
        with pytest.raises(Overloaded):
            graph.models()
        assert front.seen == 4
        front.plan = [THE_GRAPHS]
        with pytest.raises(FaceGraphError, match="a bug") as failed:
            graph.models()
        assert (failed.value.code, front.seen) == ("internal", 5)


def test_a_server_that_is_not_facegraph_is_named(running: RunningGraph) -> None:
    page = Answer(200, b"<html>", {"content-type": "text/html"})
    encoded = Answer(200, b"no gzip", {"content-encoding": "gzip"})
    plan = [page, encoded, Answer(301, headers={"location": "/"}), Answer(413), Answer(408)]
    with front_of(running.url, *plan) as front, FaceGraph.over_http(front.url) as graph:
        with pytest.raises(UnexpectedAnswer, match="/v1/models answered 200 OK"):
            graph.models()
        with pytest.raises(UnexpectedAnswer, match="the answer cannot be decoded"):
            graph.models()
        with pytest.raises(UnexpectedAnswer, match="301"):
            graph.models()
        with pytest.raises(RequestTooLarge):
            graph.detect(photo_bytes(GDP))
        with pytest.raises(DeadlineExceeded):
            graph.models()
    with (
        FaceGraph.over_http(f"{running.url}/nowhere") as lost,
        pytest.raises(UnexpectedAnswer, match="answered 404"),
    ):
        lost.models()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with FaceGraph.over_http(url, retries=0) as graph:
        with pytest.raises(ModelUnavailable, match="no server can be reached"):
            graph.models()
        with pytest.raises(ModelUnavailable, match="no server can be reached"):
            asyncio.run(graph.models_async())


def test_an_answer_that_takes_too_long_is_given_up(
    remote: FaceGraph, running: RunningGraph
) -> None:
    with (
        FaceGraph.over_http(running.url, timeout_s=0.001) as graph,
        pytest.raises(DeadlineExceeded),
    ):
        graph.detect(photo_bytes(PLAYERS))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/", "http://", "http://[::", ""])
def test_a_text_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="url"):
        FaceGraph.over_http(url)


def test_keys_and_numbers_that_make_no_sense_are_refused() -> None:
    url = "http://127.0.0.1:8000"
    with pytest.raises(InvalidRequest, match="api_key"):
        FaceGraph.over_http(url, "clé\n")
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidRequest, match="timeout_s"):
            FaceGraph.over_http(url, timeout_s=seconds)
    with pytest.raises(InvalidRequest, match="retries"):
        FaceGraph.over_http(url, retries=-1)


def test_calls_run_side_by_side_in_one_event_loop_after_another(running: RunningGraph) -> None:
    async def three() -> list[int]:
        async with FaceGraph.over_http(running.url) as graph:
            calls = [graph.detect_async(photo_bytes(GDP)) for _ in range(3)]
            return [len(answer.faces) for answer in await asyncio.gather(*calls)]

    assert asyncio.run(three()) == asyncio.run(three()) == [6, 6, 6]


def test_a_command_opens_the_server_that_it_is_told(running: RunningGraph) -> None:
    with open_graph(f"{running.url}/strict", api_key=API_KEY) as graph:
        assert graph.models().default_recognizers == ["arcface"]
