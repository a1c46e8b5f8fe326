"""Requests share chains of calls; stand-ins take the stages' places here."""

import asyncio
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from configs.calls import CallsConfig, RetryConfig
from configs.graph import GraphConfig
from deployments.contracts import DecisionRule, Photo
from deployments.errors import InvalidImage, ModelUnavailable
from deployments.replica.batches import DynamicBatcher
from deployments.replica.deadline import Deadline
from deployments.replica.groups import joined
from graph.pipeline.replicas import register
from graph.pipeline.retries import Retries
from graph.pipeline.shared_calls import QueuedRequest, SharedCalls, free_worker
from graph.pipeline.stages import Stages
from tests.support.waiting import let_tasks_run


class StandInResponse:
    """A response by reference, with the answer of a task."""

    def __init__(self, answer: Any) -> None:
        self._answer = asyncio.ensure_future(answer)

    def __await__(self) -> Any:
        return self._answer.__await__()

    async def _to_object_ref(self) -> Any:
        return SimpleNamespace(_ready=lambda: asyncio.wait({self._answer}))

    def cancel(self) -> None:
        self._answer.cancel()


class StandInHandle:
    """A handle whose `detect` answers with the photos' contents in capitals.

    A call with a photo of the content `deadly` fails as if its replica had died, and `bad` has an
    error in its request's slot. The other stages pass on what they get.
    """

    deployment_id = "stand-in"

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.calls: list[str] = []

    def options(self, **options: Any) -> "StandInHandle":
        return self

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=partial(self._remote, method))

    def _remote(self, method: str, *args: Any, **options: Any) -> StandInResponse:
        self.calls.append(method)
        is_detecting = method in ("detect", "detect_aligned")
        return StandInResponse(self._detected(args) if is_detecting else self._passed(args))

    async def _detected(self, parts: Sequence[Any]) -> list[Any]:
        contents = [[photo.content for photo in photos] for photos in joined(parts)]
        self.requests.append([content for photos in contents for content in photos])
        if b"deadly" in self.requests[-1]:
            raise ActorUnavailableError("the replica is gone", None)
        return [
            InvalidImage("image: bad", field="image")
            if b"bad" in photos
            else [content.upper() for content in photos]
            for photos in contents
        ]

    async def _passed(self, args: Sequence[Any]) -> Any:
        return await args[-1]


def shared(stage: Any, **calls: Any) -> SharedCalls:
    config = GraphConfig(calls=CallsConfig(**calls), retries=RetryConfig(attempts=2, backoff_s=0))
    stages = Stages(stage, stage, {"a": stage, "b": stage}, stage, classifiers={"c": stage})
    return SharedCalls(config, stages, Retries(config.retries))


def photos(*contents: bytes) -> list[Photo]:
    return [Photo("image", content) for content in contents]


def test_a_request_that_kills_its_replica_takes_no_answer_from_the_others() -> None:
    stage = StandInHandle()

    async def burst() -> list[Any]:
        calls = shared(stage, max_requests_per_call=4)
        requests = [calls.detect(photos(one), Deadline()) for one in (b"a", b"deadly", b"b")]
        return await asyncio.gather(*requests, return_exceptions=True)

    first, killed, last = asyncio.run(burst())
    assert (first.answer, last.answer) == ([b"A"], [b"B"])
    assert isinstance(killed, ModelUnavailable)
    together, *alone = stage.requests
    assert together == [b"a", b"deadly", b"b"]
    assert sorted(alone) == [[b"a"], [b"b"], [b"deadly"], [b"deadly"]]


def test_an_error_is_the_value_of_its_requests_slot_alone() -> None:
    stage = StandInHandle()

    async def burst() -> list[Any]:
        calls = shared(stage, max_requests_per_call=4)
        requests = [
            calls.embed(photos(one), ["a", "b"], Deadline()) for one in (b"x", b"bad", b"y")
        ]
        return await asyncio.gather(*requests, return_exceptions=True)

    first, refused, last = asyncio.run(burst())
    assert (first.answer, last.answer) == ([[b"X"], [b"X"]], [[b"Y"], [b"Y"]])
    assert isinstance(refused, InvalidImage)
    assert stage.requests == [[b"x", b"bad", b"y"]]
    assert stage.calls == ["detect", "align", "embed", "embed"]


@pytest.mark.parametrize(
    ("pools", "classifiers", "sent"),
    [
        ("a", (), ["detect_aligned", "embed_compared"]),
        ("ab", (), ["detect_aligned", "embed", "embed", "compare"]),
        ("a", ("c",), ["detect", "classify", "align", "embed_compared"]),
    ],
)
def test_stages_in_process_save_calls(
    pools: str, classifiers: tuple[str, ...], sent: list[str]
) -> None:
    stage = StandInHandle()
    rules = {pool: DecisionRule(0.5) for pool in pools}

    async def compare() -> Any:
        calls = shared(stage, in_process_stages=True)
        return await calls.compare(photos(b"f", b"g"), rules, Deadline(), classifiers)

    assert asyncio.run(compare()).answer == [b"F", b"G"]
    assert stage.calls == sent


def test_faces_alone_are_not_aligned_in_process() -> None:
    stage = StandInHandle()

    async def detect() -> Any:
        return await shared(stage, in_process_stages=True).detect(photos(b"a"), Deadline())

    assert asyncio.run(detect()).answer == [b"A"]
    assert stage.calls == ["detect"]


def test_requests_share_a_group_up_to_its_bytes() -> None:
    stage = StandInHandle()

    async def burst() -> list[Any]:
        calls = shared(stage, max_requests_per_call=8, inline_up_to_bytes=4)
        contents = (b"aa", b"bb", b"c", b"too large", b"d")
        return await asyncio.gather(*[calls.detect(photos(one), Deadline()) for one in contents])

    answers = [found.answer for found in asyncio.run(burst())]
    assert answers == [[b"AA"], [b"BB"], [b"C"], [b"TOO LARGE"], [b"D"]]
    assert stage.requests == [[b"aa", b"bb"], [b"c"], [b"too large"], [b"d"]]


def test_only_requests_of_the_same_way_share_a_group() -> None:
    stage = StandInHandle()

    async def burst() -> None:
        calls = shared(stage, max_requests_per_call=8)
        await asyncio.gather(
            calls.detect(photos(b"a"), Deadline()),
            calls.detect(photos(b"b"), Deadline()),
            calls.embed(photos(b"c"), ["a"], Deadline()),
            calls.embed(photos(b"d"), ["a"], Deadline()),
            calls.embed(photos(b"e"), ["b"], Deadline()),
            calls.compare(photos(b"f", b"g"), {"b": DecisionRule(0.5)}, Deadline()),
        )

    asyncio.run(burst())
    assert stage.requests == [[b"a", b"b"], [b"c", b"d"], [b"e"], [b"f", b"g"]]


def test_a_group_that_one_of_its_requests_leaves_goes_on() -> None:
    stage = StandInHandle()

    async def leave() -> list[Any]:
        calls = shared(stage, max_requests_per_call=2)
        requests = [
            asyncio.ensure_future(calls.detect(photos(one), Deadline())) for one in (b"a", b"b")
        ]
        await asyncio.sleep(0)
        requests[0].cancel()
        return await asyncio.gather(*requests, return_exceptions=True)

    left, answered = asyncio.run(leave())
    assert isinstance(left, asyncio.CancelledError)
    assert answered.answer == [b"B"]


class StandInRouter:
    """A router that knows of so many replicas of the stand-in."""

    _deployment_id = StandInHandle.deployment_id

    def __init__(self, replicas: int) -> None:
        self.curr_replicas = range(replicas)


@pytest.mark.parametrize(
    ("replicas", "started"),
    [
        (1, [["a"], ["b"]]),
        (2, [["a"], ["b"], ["c", "d"]]),
        (3, [["a"], ["b"], ["c", "d"], ["e"], ["f", "g", "h"]]),
    ],
)
def test_a_call_starts_while_a_worker_is_free(replicas: int, started: list[list[str]]) -> None:
    """A replica has two workers, and a group keeps one of them busy per photo, until the detector
    has answered it."""
    router: Any = StandInRouter(replicas)
    register(router)
    stage: Any = StandInHandle()
    groups: list[list[QueuedRequest]] = []
    end = asyncio.Event()

    async def call(requests: Sequence[QueuedRequest]) -> list[int]:
        groups.append([*requests])
        await end.wait()
        return [len(request.photos) for request in requests]

    def names() -> list[list[str]]:
        return [
            [str(one.content) for request in group for one in request.photos] for group in groups
        ]

    async def submit() -> list[int]:
        batcher = DynamicBatcher[QueuedRequest, int](
            call, has_room=free_worker(stage, workers=2), max_batch_size=8
        )
        requests = []
        for names_of_one in (["a"], ["b"], ["c", "d"], ["e"], ["f", "g", "h"]):
            contents: list[Any] = names_of_one
            queued = QueuedRequest(photos(*contents), (), None, Deadline())
            requests.append(asyncio.ensure_future(batcher.submit(queued)))
            await let_tasks_run()
        assert names() == started
        for request in (one for group in groups for one in group):
            request.is_detecting = False
        batcher.wake()
        await let_tasks_run()
        assert names() == [*started, *([rest] if rest else [])]
        end.set()
        return await asyncio.gather(*requests)

    rest = ["a", "b", "c", "d", "e", "f", "g", "h"][sum(map(len, started)) :]
    assert asyncio.run(submit()) == [1, 1, 2, 1, 3]
