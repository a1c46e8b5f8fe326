"""Direct calls and calls by reference give the same answers, and large photos go by reference.

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

from configs.calls import CallsConfig, RetryConfig
from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.errors import ImageTooLarge, InvalidImage
from graph.cluster.launch import RunningGraph
from graph.pipeline.pipeline import Pipeline
from graph.schemas import CompareOptions, CompareResponse, EmbedOptions
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes
from tests.support.stages import CallRecord, Delay, recorded, stages_of
from tests.support.waiting import let_tasks_run, wait_until_async

ALL_FACES = CompareOptions(faces="all")


def recorded_pipeline(
    running: RunningGraph, *, delays: Mapping[str, Delay] | None = None, **calls: Any
) -> tuple[Pipeline, CallRecord]:
    """delays: by method."""
    record = CallRecord()
    stages = recorded(stages_of(running.app_name), record, delays)
    return Pipeline(GraphConfig(calls=CallsConfig(**calls)), stages), record


def compared(pipeline: Pipeline, source: Any, target: Any) -> CompareResponse:
    photos = Photo("source", source), Photo("target", target)
    return asyncio.run(pipeline.compare(*photos, ALL_FACES))


def test_direct_calls_and_calls_by_reference_give_the_same_answer(running: RunningGraph) -> None:
    man, players = photo_bytes(YAOMING), photo_bytes(PLAYERS)
    pipeline, direct = recorded_pipeline(running, mode="direct")
    one = compared(pipeline, man, players)
    pipeline, by_reference = recorded_pipeline(running, mode="by_reference")
    other = compared(pipeline, man, players)
    assert [call.by_reference for call in direct.calls] == [False] * 4
    assert [call.by_reference for call in by_reference.calls] == [True] * 4
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
        pipeline, record = recorded_pipeline(running, mode="direct", direct_up_to_bytes=limit)
        assert len(compared(pipeline, *pair).matches) == 6
        assert record.by_reference("detect") == [by_reference]
        assert record.by_reference("align", "embed", "compare_many") == [False] * 3


def test_a_request_that_is_too_large_for_a_message_is_sent_again_by_reference(
    running: RunningGraph,
) -> None:
    """serve_config.yaml allows messages of 64 MiB; these pixels take 70 MiB."""
    pipeline, record = recorded_pipeline(running, mode="direct", direct_up_to_bytes=2**30)
    pixels = cv2.resize(photo(GDP), (4300, 5719)).astype(np.uint8)
    embedded = asyncio.run(pipeline.embed(Photo("image", pixels), EmbedOptions()))
    assert record.by_reference("detect") == [False, True]
    assert record.by_reference("align", "embed") == [True, True]
    assert len(embedded.faces) == 1


@pytest.mark.parametrize("mode", ["direct", "by_reference"])
def test_a_stages_error_arrives_as_itself(running: RunningGraph, mode: str) -> None:
    pipeline, _ = recorded_pipeline(running, mode=mode)
    with pytest.raises(InvalidImage) as caught:
        compared(pipeline, photo_bytes(YAOMING), b"no image at all")
    assert caught.value.details["field"] == "target"


@pytest.mark.parametrize("max_requests_per_call", [1, 4])
def test_a_hedged_call_of_a_recognizer_carries_the_time_that_is_left_then(
    running: RunningGraph, max_requests_per_call: int
) -> None:
    record = CallRecord()
    method = "embed" if max_requests_per_call == 1 else "embed_many"

    async def both_are_sent() -> None:
        await wait_until_async(lambda: len(record.of(method)) == 2)

    stages = recorded(stages_of(running.app_name), record, {method: both_are_sent})
    config = GraphConfig(
        calls=CallsConfig(max_requests_per_call=max_requests_per_call),
        retries=RetryConfig(attempts=2, hedge_after_s=0.3),
    )
    photo = Photo("image", photo_bytes(YAOMING))
    began = time.monotonic()
    asyncio.run(Pipeline(config, stages).embed(photo, EmbedOptions()))
    first, second = (_time_left_s(call.args[0]) for call in record.of(method))
    assert 0.3 <= first - second < time.monotonic() - began


def _time_left_s(chips: Any) -> float:
    """Of the first photo's chips in a call's argument, which may be by request."""
    first = chips[0]
    return float((first[0] if isinstance(first, list) else first).time_left_s)


@pytest.mark.parametrize("max_requests_per_call", [1, 4])
def test_requests_of_a_burst_share_calls_and_get_their_own_answers(
    running: RunningGraph, max_requests_per_call: int
) -> None:
    detect = "detect" if max_requests_per_call == 1 else "detect_many"
    detections = 16 // max_requests_per_call

    async def none() -> None: ...

    async def until_all_wait() -> None:
        await wait_until_async(lambda: record.answered.count(detect) >= detections)

    pipeline, record = recorded_pipeline(
        running,
        mode="direct",
        max_calls_in_flight=1,
        max_requests_per_call=max_requests_per_call,
        delays={detect: none, "align": until_all_wait},
    )
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
    photos, comparisons = record.sizes("align"), record.sizes("compare_many")
    assert (sum(photos), sum(comparisons)) == (24, 12)
    assert max(photos) > 2  # the photos of more than one request
    if max_requests_per_call == 1:
        assert record.of("detect_many", "embed_many") == []
    else:
        assert record.sizes("detect_many") == [4, 4, 4, 4]
        assert sum(record.sizes("embed_many")) == 12
        assert max(record.sizes("embed_many")) > 1


def test_a_request_that_leaves_a_shared_call_takes_no_answer_from_the_others(
    running: RunningGraph,
) -> None:
    man, left = photo_bytes(YAOMING), Event()

    async def two_have_left() -> None:
        await wait_until_async(left.is_set)

    pipeline, record = recorded_pipeline(
        running,
        mode="direct",
        max_requests_per_call=4,
        delays={"detect_many": two_have_left},
    )

    async def leave() -> list[Any]:
        requests = [
            asyncio.ensure_future(
                pipeline.compare(Photo("source", man), Photo("target", man), CompareOptions())
            )
            for _ in range(6)
        ]
        # The other two wait, unless load has added a second detector.
        await wait_until_async(lambda: record.sizes("detect_many") in ([4], [4, 2]))
        requests[0].cancel()
        requests[5].cancel()
        left.set()
        return await asyncio.gather(*requests, return_exceptions=True)

    first, *others, last = asyncio.run(leave())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(last, asyncio.CancelledError)
    assert all(other.matched for other in others)
    assert record.sizes("detect_many") in ([4, 1], [4, 2])


def test_photos_that_make_a_message_large_do_not_share_it(running: RunningGraph) -> None:
    man = photo_bytes(YAOMING)
    pipeline, record = recorded_pipeline(
        running, mode="direct", max_requests_per_call=8, direct_up_to_bytes=2 * len(man) + 1
    )

    async def burst() -> list[Any]:
        requests = [pipeline.embed(Photo("image", man), EmbedOptions()) for _ in range(5)]
        requests.append(pipeline.embed(Photo("image", photo_bytes(GDP)), EmbedOptions()))
        return await asyncio.gather(*requests)

    assert [len(answer.faces) for answer in asyncio.run(burst())] == [1] * 6
    assert sorted(record.sizes("detect_many")) == [1, 2, 2]
    assert record.by_reference("detect") == [True]  # the group


def test_photos_over_the_bytes_in_calls_wait_for_an_earlier_call(running: RunningGraph) -> None:
    man, answered = photo_bytes(YAOMING), Event()

    async def first_is_seen() -> None:
        await wait_until_async(answered.is_set)

    pipeline, record = recorded_pipeline(
        running,
        mode="direct",
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
    pipeline, record = recorded_pipeline(running, mode="direct")
    limit = GraphConfig().image_limits.max_bytes
    with pytest.raises(ImageTooLarge) as caught:
        asyncio.run(pipeline.detect(Photo("image", bytes(limit + 1))))
    assert caught.value.details == {"field": "image", "max_bytes": limit}
    assert record.calls == []
