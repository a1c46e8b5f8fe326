"""Requests share calls of a stage; a stand-in takes the stage's place here."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from configs.calls import CallsConfig, RetryConfig
from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.errors import ModelUnavailable
from deployments.replica.deadline import Deadline
from graph.pipeline.replicas import register
from graph.pipeline.retries import Retries
from graph.pipeline.shared_calls import (
    BatchedCalls,
    CrossRequestBatcher,
    QueuedRequest,
    free_worker,
)
from graph.pipeline.stages import Stages
from tests.support.waiting import let_tasks_run


class StandInHandle:
    """A handle whose `detect_many` answers with the photos' contents in capitals.

    A call with a photo of the content `deadly` fails as if its replica had died.
    """

    deployment_id = "stand-in"

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []

    def options(self, **options: Any) -> "StandInHandle":
        return self

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=self._remote)

    def _remote(self, requests: Sequence[Sequence[Photo]], *, crops: bool) -> Any:
        return asyncio.ensure_future(self._answer(requests))

    async def _answer(self, requests: Sequence[Sequence[Any]]) -> list[list[bytes]]:
        contents = [[photo.content for photo in photos] for photos in requests]
        self.requests.append([content for photos in contents for content in photos])
        if b"deadly" in self.requests[-1]:
            raise ActorUnavailableError("the replica is gone", None)
        return [[content.upper() for content in photos] for photos in contents]


def test_a_request_that_kills_its_replica_takes_no_answer_from_the_others() -> None:
    stage: Any = StandInHandle()
    config = GraphConfig(
        calls=CallsConfig(max_requests_per_call=4), retries=RetryConfig(attempts=2, backoff_s=0)
    )
    calls = BatchedCalls(config, Stages(stage, stage, {}, stage), Retries(config.retries))

    async def burst() -> list[Any]:
        photos = [Photo("image", content) for content in (b"a", b"deadly", b"b")]
        requests = [calls.detect([photo], Deadline()) for photo in photos]
        return await asyncio.gather(*requests, return_exceptions=True)

    first, killed, last = asyncio.run(burst())
    assert (first, last) == ([b"A"], [b"B"])
    assert isinstance(killed, ModelUnavailable)
    together, *alone = stage.requests
    assert together == [b"a", b"deadly", b"b"]
    assert sorted(alone) == [[b"a"], [b"b"], [b"deadly"], [b"deadly"]]


def test_requests_share_a_call_up_to_its_bytes() -> None:
    stage: Any = StandInHandle()
    config = GraphConfig(calls=CallsConfig(max_requests_per_call=8, direct_up_to_bytes=4))
    calls = BatchedCalls(config, Stages(stage, stage, {}, stage), Retries(config.retries))

    async def burst() -> list[Any]:
        photos = [Photo("image", content) for content in (b"aa", b"bb", b"c", b"too large", b"d")]
        return await asyncio.gather(*[calls.detect([photo], Deadline()) for photo in photos])

    assert asyncio.run(burst()) == [[b"AA"], [b"BB"], [b"C"], [b"TOO LARGE"], [b"D"]]
    assert stage.requests == [[b"aa", b"bb"], [b"c"], [b"too large"], [b"d"]]


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
    """A replica has two workers, and a call keeps one of them busy per photo."""
    router: Any = StandInRouter(replicas)
    register(router)
    stage: Any = StandInHandle()
    calls: list[list[str]] = []
    free = asyncio.Event()

    async def call(requests: Sequence[QueuedRequest[Sequence[str]]]) -> list[int]:
        calls.append([photo for request in requests for photo in request.payload])
        await free.wait()
        return [len(request.payload) for request in requests]

    async def submit() -> list[int]:
        batcher = CrossRequestBatcher[Sequence[str], int](
            call, has_room=free_worker(stage, workers=2), max_requests=8
        )
        requests = []
        for photos in (["a"], ["b"], ["c", "d"], ["e"], ["f", "g", "h"]):
            requests.append(asyncio.ensure_future(batcher.submit(photos, Deadline())))
            await let_tasks_run()
        assert calls == started
        free.set()
        return await asyncio.gather(*requests)

    assert asyncio.run(submit()) == [1, 1, 2, 1, 3]
    rest = ["a", "b", "c", "d", "e", "f", "g", "h"][sum(map(len, started)) :]
    assert calls == [*started, *([rest] if rest else [])]
