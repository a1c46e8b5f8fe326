"""Stage to stage directly or by reference: the same answers, and each request by the way it fits.

The pipeline runs in this process here, on the running graph's stages.
"""

import asyncio
from typing import Any

import cv2
import numpy as np
import pytest
from ray import serve

from configs.edges import EdgesConfig
from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.errors import InvalidImage
from deployments.runtime.deadline import Deadline
from graph.launch import RunningGraph
from graph.pipeline import Pipeline
from graph.schemas import CompareOptions, CompareResponse, EmbedOptions
from graph.stages import Stages
from tests.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes

ALL_FACES = CompareOptions(faces="all")


class Watched(Pipeline):
    """Keeps which way its requests took, True by reference and False directly, and how many of
    them shared each call of the aligner."""

    def __init__(self, running: RunningGraph, **edges: Any) -> None:
        def handle(deployment: str) -> Any:
            return serve.get_deployment_handle(deployment, running.app_name)

        recognizers = {"arcface": handle("Recognizer:arcface")}
        stages = Stages(handle("Detector"), handle("Aligner"), recognizers, handle("Aggregator"))
        super().__init__(GraphConfig(edges=EdgesConfig(**edges)), stages)
        self.ways: list[bool] = []
        self.merged: list[int] = []
        self.align_delay_s = 0.0
        self.photos_by_reference: list[bool] = []

    def _detect(self, call: Any, photos: Any) -> Any:
        detect = super()._detect(call, photos)
        self.photos_by_reference.append(detect is self._by_reference.detect)
        return detect

    async def _align(self, requests: Any) -> Any:
        self.merged.append(len(requests))
        await asyncio.sleep(self.align_delay_s)
        return await super()._align(requests)

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


def test_requests_of_a_burst_share_calls_and_get_their_own_answers(running: RunningGraph) -> None:
    pipeline = Watched(running, mode="direct", merged_calls=1)
    pipeline.align_delay_s = 0.5  # time for others to come
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
            continue
        assert answer.matched == (source is target)
        assert len(answer.matches) == (1 if target is man else 5)
    assert sum(pipeline.merged) == 12
    assert max(pipeline.merged) > 1
