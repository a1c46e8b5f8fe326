"""A call's photos on their way through a replica's threads, without Ray."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from deployments.contracts import ChipArea, DetectedPhoto, Photo
from deployments.detector import load_detector
from deployments.detector.deployment import DetectorDeployment
from deployments.detector.photos import PhotoSearch
from deployments.errors import DeadlineExceeded, FaceGraphError, FaceNotFound, InvalidImage
from deployments.images.decode import DecodedImage
from deployments.images.margins import cut_margin_chips
from deployments.replica.deadline import Deadline
from deployments.replica.workers import Workers
from tests.support.photos import GDP, YAOMING, jpeg, photo, photo_bytes
from tests.support.waiting import wait_until_async

Outcomes = list[list[DetectedPhoto] | FaceGraphError]


@pytest.fixture(scope="module", params=[0, 2])
def replica(request: pytest.FixtureRequest) -> Any:
    """Without feeders, and with two."""
    deployment: Any = DetectorDeployment
    config = DetectorConfig(feeders=request.param, second_pass="none")
    return deployment.func_or_class(config, ImageLimits())


def found(replica: Any, *requests: Sequence[Photo]) -> Outcomes:
    outcomes: Outcomes = asyncio.run(replica.detect(requests, crops=True))
    return outcomes


def portrait(**fields: Any) -> Photo:
    return replace(Photo("image", photo_bytes(YAOMING), "largest", 60), **fields)


def test_each_request_has_its_photos_in_order_and_an_error_only_its_own(replica: Any) -> None:
    pair = [portrait(field="source"), portrait(field="target", content=photo_bytes(GDP))]
    broken = [portrait(), portrait(content=photo_bytes(GDP)[:200])]
    late, fourth = [portrait(time_left_s=0.0)], [portrait(faces=3)]
    outcomes = found(replica, pair, broken, late, fourth, pair, [])
    first, refused, too_late, no_such_face, again, empty = outcomes
    for answer in (first, again):
        assert isinstance(answer, list)
        assert [one.faces.field for one in answer] == ["source", "target"]
        assert [len(one.crops) for one in answer] == [1, 1]
        assert [span.stage for span in answer[0].spans] == ["decode", "detect"]
    assert isinstance(refused, InvalidImage)
    assert isinstance(too_late, DeadlineExceeded)
    assert isinstance(no_such_face, FaceNotFound)
    assert empty == []


@pytest.mark.parametrize("scale", [1, 8])
def test_chips_with_margin_are_cut_of_the_photo_that_asks_for_them(
    replica: Any, scale: int
) -> None:
    pixels = cv2.resize(photo(YAOMING), None, fx=scale, fy=scale).astype(np.uint8)
    areas = ChipArea(80, 2.7), ChipArea(96, 1.5, square=True)
    asking = portrait(content=jpeg(pixels), areas=areas)
    [[judged, without]] = found(replica, [asking, portrait()])  # type: ignore[misc]
    assert without.margins == {}
    for area in areas:
        whole = DecodedImage.whole(pixels)
        [expected] = cut_margin_chips(whole, judged.faces.detections.boxes, area)
        [chip] = judged.margins[area]
        assert np.abs(chip.astype(int) - expected).mean() < 4


def test_photos_wait_for_room_in_the_budget_of_pixels_and_all_get_theirs() -> None:
    pixels = photo(YAOMING)
    size = pixels.shape[0] * pixels.shape[1]
    limits = ImageLimits(max_pixels=size, max_pixels_in_flight=size)  # one at a time
    deployment: Any = DetectorDeployment
    replica = deployment.func_or_class(DetectorConfig(), limits)
    several = [portrait(content=pixels), portrait(), portrait(content=b"no image"), portrait()]
    *answers, refused, last = found(replica, *([one] for one in several))
    assert isinstance(refused, InvalidImage)
    for answer in (*answers, last):
        assert isinstance(answer, list)
        assert len(answer[0].faces) == 1


def test_the_photos_of_a_caller_who_left_are_not_looked_at() -> None:
    detector = load_detector()
    batches: list[int] = []

    async def leave() -> None:
        search = PhotoSearch(
            detector,
            Workers(1, stuck_after_s=60),
            ImageLimits(),
            max_batch_size=8,
            on_batch_start=lambda waits: batches.append(len(waits)),
        )
        call = asyncio.ensure_future(
            search.search([[portrait()]] * 20, [Deadline()] * 20, crops=False)
        )
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        empty = Photo("image", np.zeros((64, 64, 3), np.uint8))
        [answer] = await search.search([[empty]], [Deadline()], crops=False)
        assert isinstance(answer, list)
        await wait_until_async(lambda: search._pixels._free == ImageLimits().max_pixels_in_flight)

    asyncio.run(leave())
    assert sum(batches) <= 3
