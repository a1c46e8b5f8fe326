"""Stage to stage directly or by reference: the same answers, and each request by the way it fits.

The pipeline runs in this process here, on the running graph's stages.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from ray import serve
from ray.exceptions import ActorUnavailableError

from configs.calls import CallsConfig
from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.errors import InvalidImage, ModelUnavailable
from deployments.replica.deadline import Deadline
from graph.cluster.launch import RunningGraph
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.shared_calls import Asked, InferenceCalls, MergedCalls, SharedCalls
from graph.pipeline.stages import Stages
from graph.schemas import CompareOptions, CompareResponse, EmbedOptions
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes

ALL_FACES = CompareOptions(faces="all")


class WatchedCalls(MergedCalls):
    """Keeps how many requests shared each call, by stage; calls of the first take a moment."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sizes: dict[str, list[int]] = {}
        self.delays_s: dict[str, float] = {}

    async def _send(self, stage: str, requests: Any, call: Any) -> Any:
        self.sizes.setdefault(stage, []).append(len(requests))
        await asyncio.sleep(self.delays_s.get(stage, 0.0))
        return await super()._send(stage, requests, call)


class Watched(Pipeline):
    """Keeps which way its requests took, True by reference and False directly."""

    def __init__(self, running: RunningGraph, **edges: Any) -> None:
        def handle(deployment: str) -> Any:
            return serve.get_deployment_handle(deployment, running.app_name)

        recognizers = {"arcface": handle("Recognizer:arcface")}
        stages = Stages(handle("Detector"), handle("Aligner"), recognizers, handle("Aggregator"))
        config = GraphConfig(calls=CallsConfig(**edges))
        super().__init__(config, stages)
        self.calls = WatchedCalls(config, stages, self._retries)
        self._merged = self.calls
        self.ways: list[bool] = []
        self.photos_by_reference: list[bool] = []

    def _detect(self, call: Any, photos: Any) -> Any:
        detect = super()._detect(call, photos)
        self.photos_by_reference.append(detect is self._by_reference.detect)
        return detect

    def _call(self, deadline: Deadline, *, by_reference: bool) -> Any:
        self.ways.append(by_reference)
        return super()._call(deadline, by_reference=by_reference)


def compared(pipeline: Pipeline, source: Any, target: Any) -> CompareResponse:
    photos = Photo("source", source), Photo("target", target)
    return asyncio.run(pipeline.compare(*photos, ALL_FACES))


def test_both_ways_give_the_same_answer(running: RunningGraph) -> None:
    direct = Watched(running, mode="direct")
    by_reference = Watched(running, mode="by_reference")
    one, other = (
        compared(pipeline, photo_bytes(YAOMING), photo_bytes(PLAYERS))
        for pipeline in (direct, by_reference)
    )
    assert (direct.ways, by_reference.ways) == ([False], [True])
    assert one.similarity == pytest.approx(other.similarity, abs=1e-3)
    assert [match.face.box for match in one.matches] == [match.face.box for match in other.matches]
    assert one.matched


def test_large_photos_reach_the_detector_by_reference(running: RunningGraph) -> None:
    small, large = photo_bytes(YAOMING), photo_bytes(GDP)
    at_most, too_much = 2 * len(large), len(small) + len(large) - 1
    for limit, pair, by_reference in (
        (at_most, (large, large), False),
        (too_much, (small, large), True),
    ):
        pipeline = Watched(running, mode="direct", direct_up_to_bytes=limit)
        assert len(compared(pipeline, *pair).matches) == 5
        assert (pipeline.photos_by_reference, pipeline.ways) == ([by_reference], [False])


def test_what_does_not_fit_into_a_message_goes_by_reference_after_all(
    running: RunningGraph,
) -> None:
    """serve_config.yaml lets messages be 64 MiB long; these pixels are 70."""
    pipeline = Watched(running, mode="direct", direct_up_to_bytes=2**30)
    pixels = cv2.resize(photo(GDP), (4300, 5719)).astype(np.uint8)
    embedded = asyncio.run(pipeline.embed(Photo("image", pixels), EmbedOptions()))
    assert pipeline.ways == [False, True]
    assert len(embedded.faces) == 1


@pytest.mark.parametrize("mode", ["direct", "by_reference"])
def test_a_stages_error_arrives_as_itself(running: RunningGraph, mode: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        compared(Watched(running, mode=mode), photo_bytes(YAOMING), b"no image at all")
    assert caught.value.details["field"] == "target"


@pytest.mark.parametrize("max_requests_per_call", [1, 4])
def test_requests_of_a_burst_share_calls_and_get_their_own_answers(
    running: RunningGraph, max_requests_per_call: int
) -> None:
    pipeline = Watched(
        running, mode="direct", max_calls_in_flight=1, max_requests_per_call=max_requests_per_call
    )
    pipeline.calls.delays_s = {"align": 0.5}  # time for others to come
    man, group, nothing = photo_bytes(YAOMING), photo_bytes(GDP), b"no image at all"
    pairs = [(man, man), (man, group), (group, group), (man, nothing)] * 4

    async def burst() -> list[Any]:
        requests = [
            pipeline.compare(Photo("source", source), Photo("target", target), ALL_FACES)
            for source, target in pairs
        ]
        return await asyncio.gather(*requests, return_exceptions=True)

    for (source, target), answer in zip(pairs, asyncio.run(burst()), strict=True):
        if target is nothing:
            assert isinstance(answer, InvalidImage)
            assert answer.details["field"] == "target"
            continue
        assert answer.matched == (source is target)
        assert len(answer.matches) == (1 if target is man else 5)
    sizes = pipeline.calls.sizes
    assert sum(sizes["align"]) == sum(sizes["compare"]) == 12
    assert max(sizes["align"]) > 1
    if max_requests_per_call == 1:
        assert sizes.keys() == {"align", "compare"}
    else:
        assert sizes["detect"] == [4, 4, 4, 4]
        assert sum(sizes["recognize:arcface"]) == 12
        assert max(sizes["recognize:arcface"]) > 1


def test_who_leaves_a_shared_call_takes_no_answer_from_the_others(running: RunningGraph) -> None:
    pipeline = Watched(running, mode="direct", max_requests_per_call=4)
    pipeline.calls.delays_s = {"detect": 0.2}
    man = photo_bytes(YAOMING)

    async def leave() -> list[Any]:
        requests = [
            asyncio.ensure_future(
                pipeline.compare(Photo("source", man), Photo("target", man), CompareOptions())
            )
            for _ in range(6)
        ]
        await asyncio.sleep(0.1)  # four are under way, two wait
        requests[0].cancel()
        requests[5].cancel()
        return await asyncio.gather(*requests, return_exceptions=True)

    first, *others, last = asyncio.run(leave())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(last, asyncio.CancelledError)
    assert all(other.matched for other in others)
    assert pipeline.calls.sizes["detect"] == [4, 1]


def test_a_request_that_kills_its_replica_takes_no_answer_from_the_others(
    running: RunningGraph,
) -> None:
    calls = Watched(running, mode="direct").calls

    async def call(requests: Sequence[Asked[str]]) -> Any:
        async def send(attempt: Any) -> list[str]:
            if any(asked.wanted == "deadly" for asked in requests):
                raise ActorUnavailableError("the replica is gone", None)
            return [asked.wanted.upper() for asked in requests]

        return await calls._send("some", requests, send)

    async def burst() -> list[Any]:
        shared: SharedCalls[str, str] = SharedCalls(call, at_once=1, max_batch_size=4)
        asked = [shared.ask(wanted, Deadline()) for wanted in ("a", "deadly", "b")]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, killed, last = asyncio.run(burst())
    assert (first, last) == ("A", "B")
    assert isinstance(killed, ModelUnavailable)
    assert calls.sizes == {"some": [3, 1, 1, 1]}


def test_photos_that_make_a_message_large_do_not_share_it(running: RunningGraph) -> None:
    man = photo_bytes(YAOMING)
    pipeline = Watched(
        running, mode="direct", max_requests_per_call=8, direct_up_to_bytes=2 * len(man) + 1
    )

    async def burst() -> list[Any]:
        requests = [pipeline.embed(Photo("image", man), EmbedOptions()) for _ in range(5)]
        requests.append(pipeline.embed(Photo("image", photo_bytes(GDP)), EmbedOptions()))
        return await asyncio.gather(*requests)

    assert [len(answer.faces) for answer in asyncio.run(burst())] == [1] * 6
    assert sorted(pipeline.calls.sizes["detect"]) == [1, 2, 2]  # the group went by reference
    assert pipeline.photos_by_reference == [True]


def test_a_call_starts_while_a_worker_is_free(running: RunningGraph) -> None:
    """By what this process knows: two workers, each with one photo of a call at a time."""
    calls: list[list[str]] = []
    free = asyncio.Event()

    async def call(requests: Sequence[Asked[Sequence[str]]]) -> list[int]:
        calls.append([photo for asked in requests for photo in asked.wanted])
        await free.wait()
        return [len(asked.wanted) for asked in requests]

    async def ask() -> list[int]:
        detector = serve.get_deployment_handle("Detector", running.app_name)
        shared: InferenceCalls[str, int] = InferenceCalls(
            call, detector, workers=2, max_batch_size=8
        )
        asked = []
        for photos in (["a"], ["b"], ["c", "d"], ["e"], ["f", "g", "h"]):
            asked.append(asyncio.ensure_future(shared.ask(photos, Deadline())))
            await asyncio.sleep(0.01)
        assert calls == [["a"], ["b"]]
        free.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == [1, 1, 2, 1, 3]
    assert calls == [["a"], ["b"], ["c", "d", "e", "f", "g", "h"]]
