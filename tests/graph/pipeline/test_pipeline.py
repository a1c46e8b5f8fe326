"""Requests share chains of calls and get their own answers; large photos go by reference.

The pipeline runs in this process, on the running graph's stages.
"""

import asyncio
import time
from collections.abc import Mapping
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from ray.serve.handle import DeploymentResponse

from configs.calls import CallsConfig, RetryConfig
from configs.graph import GraphConfig
from configs.limits import RequestLimits
from deployments.contracts import Photo
from deployments.errors import ImageTooLarge, InvalidImage
from graph.cluster.launch import RunningGraph
from graph.pipeline.pipeline import Pipeline
from graph.schemas import CompareOptions, CompareResponse, EmbedOptions
from tests.support.photos import GDP, YAOMING, photo, photo_bytes
from tests.support.stages import CallRecord, Delay, recorded, stages_of
from tests.support.waiting import TIMEOUT_S, let_tasks_run, wait_until_async

ALL_FACES = CompareOptions(faces="all")
PATIENT = RequestLimits(timeout_s=TIMEOUT_S)


def recorded_pipeline(
    running: RunningGraph, *, delays: Mapping[str, Delay] | None = None, **calls: Any
) -> tuple[Pipeline, CallRecord]:
    """delays: by method."""
    record = CallRecord()
    stages = recorded(stages_of(running.app_name), record, delays)
    config = GraphConfig(calls=CallsConfig(**calls), request_limits=PATIENT)
    return Pipeline(config, stages), record


def compared(pipeline: Pipeline, source: Any, target: Any) -> CompareResponse:
    photos = Photo("source", source), Photo("target", target)
    return asyncio.run(pipeline.compare(*photos, ALL_FACES))


@pytest.mark.parametrize("is_inline", [True, False])
def test_photos_over_the_limit_of_a_call_reach_the_detector_by_reference(
    running: RunningGraph, is_inline: bool
) -> None:
    man, group = photo_bytes(YAOMING), photo_bytes(GDP)
    limit = len(man) + len(group) - (not is_inline)
    pipeline, record = recorded_pipeline(running, inline_up_to_bytes=limit)
    answer = compared(pipeline, man, group)
    assert len(answer.matches) == 6
    assert [call.method for call in record.calls] == ["detect", "align", "embed", "compare"]
    assert record.calls[0].is_inline == is_inline
    sent, *others = record.calls
    assert [photo.content for (request,) in [sent.requests] for photo in request] == [man, group]
    assert all(isinstance(call.args[-1], DeploymentResponse) for call in others)


def test_pixels_of_any_size_are_answered(running: RunningGraph) -> None:
    """These take 70 MiB."""
    pipeline, _ = recorded_pipeline(running)
    pixels = cv2.resize(photo(GDP), (4300, 5719)).astype(np.uint8)
    assert len(asyncio.run(pipeline.embed(Photo("image", pixels), EmbedOptions())).faces) == 1


def test_a_stages_error_arrives_as_itself(running: RunningGraph) -> None:
    pipeline, _ = recorded_pipeline(running)
    with pytest.raises(InvalidImage) as caught:
        compared(pipeline, photo_bytes(YAOMING), b"no image at all")
    assert caught.value.details["field"] == "target"


def test_a_hedged_chain_carries_the_time_that_is_left_then(running: RunningGraph) -> None:
    record = CallRecord()

    async def both_are_sent() -> None:
        await wait_until_async(lambda: len(record.of("embed")) == 2)

    stages = recorded(stages_of(running.app_name), record, {"embed": both_are_sent})
    retries = RetryConfig(attempts=2, hedge_after_s=0.3)
    config = GraphConfig(retries=retries, request_limits=PATIENT)
    photo = Photo("image", photo_bytes(YAOMING))
    began = time.monotonic()
    asyncio.run(Pipeline(config, stages).embed(photo, EmbedOptions()))
    first, second = (call.requests[0][0].time_left_s for call in record.of("detect"))
    assert first is not None
    assert second is not None
    assert 0.3 <= first - second < time.monotonic() - began


@pytest.mark.parametrize("max_requests_per_call", [1, 4])
def test_requests_of_a_burst_share_calls_and_get_their_own_answers(
    running: RunningGraph, max_requests_per_call: int
) -> None:
    pipeline, record = recorded_pipeline(running, max_requests_per_call=max_requests_per_call)
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
        assert len(answer.matches) == (1 if target is man else 6)
    groups = record.groups()
    assert groups == [max_requests_per_call] * (16 // max_requests_per_call)
    for method in ("align", "embed", "compare"):
        assert len(record.of(method)) == len(groups)


def test_a_request_that_leaves_a_group_takes_no_answer_from_the_others(
    running: RunningGraph,
) -> None:
    man, left = photo_bytes(YAOMING), Event()

    async def two_have_left() -> None:
        await wait_until_async(left.is_set)

    pipeline, record = recorded_pipeline(
        running, max_requests_per_call=4, delays={"detect": two_have_left}
    )

    async def leave() -> list[Any]:
        requests = [
            asyncio.ensure_future(
                pipeline.compare(Photo("source", man), Photo("target", man), CompareOptions())
            )
            for _ in range(6)
        ]
        # The other two wait, unless load has added a second detector.
        await wait_until_async(lambda: record.groups() in ([4], [4, 2]))
        requests[0].cancel()
        requests[5].cancel()
        await let_tasks_run()
        left.set()
        return await asyncio.gather(*requests, return_exceptions=True)

    first, *others, last = asyncio.run(leave())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(last, asyncio.CancelledError)
    assert all(other.matched for other in others)
    assert record.groups() in ([4, 1], [4, 2])


def test_photos_that_make_a_call_large_do_not_share_it(running: RunningGraph) -> None:
    man = photo_bytes(YAOMING)
    pipeline, record = recorded_pipeline(
        running, max_requests_per_call=8, inline_up_to_bytes=2 * len(man) + 1
    )

    async def burst() -> list[Any]:
        requests = [pipeline.embed(Photo("image", man), EmbedOptions()) for _ in range(5)]
        requests.append(pipeline.embed(Photo("image", photo_bytes(GDP)), EmbedOptions()))
        return await asyncio.gather(*requests)

    assert [len(answer.faces) for answer in asyncio.run(burst())] == [1] * 6
    sent = sorted((len(call.requests), call.is_inline) for call in record.of("detect"))
    assert sent == [(1, False), (1, True), (2, True), (2, True)]


def test_photos_over_the_bytes_in_calls_wait_for_an_earlier_call(running: RunningGraph) -> None:
    man, answered = photo_bytes(YAOMING), Event()

    async def first_is_seen() -> None:
        await wait_until_async(answered.is_set)

    pipeline, record = recorded_pipeline(
        running,
        max_bytes_in_flight=2 * len(man) + 1,
        delays={"detect": first_is_seen},
    )

    async def burst() -> list[Any]:
        requests = [asyncio.ensure_future(pipeline.detect(Photo("image", man))) for _ in range(5)]
        await wait_until_async(lambda: len(record.of("detect")) == 2)
        await let_tasks_run()
        assert len(record.of("detect")) == 2
        answered.set()
        return await asyncio.gather(*requests)

    assert [len(answer.faces) for answer in asyncio.run(burst())] == [1] * 5


def test_a_file_over_the_limit_of_bytes_reaches_no_stage(running: RunningGraph) -> None:
    pipeline, record = recorded_pipeline(running)
    limit = GraphConfig().image_limits.max_bytes
    with pytest.raises(ImageTooLarge) as caught:
        asyncio.run(pipeline.detect(Photo("image", bytes(limit + 1))))
    assert caught.value.details == {"field": "image", "max_bytes": limit}
    assert record.calls == []
