"""The graph with stages that compute nothing, for the benchmarks overhead, replicas, autoscaling.

The ingress and the pipeline are the graph's own. Behind them, deployments with the names and the
methods of the real stages answer after a fixed time, whatever their arguments: one face in every
photo, with arrays of the sizes that a 640-px photo of a group gives.
"""

# Serve validates `args` only while the builder's annotation is a class, so this module has no
# `from __future__ import annotations`.

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from pydantic import Field
from ray import serve
from ray.serve import Application, Deployment

from configs.base import Config
from configs.calls import RetryConfig
from configs.graph import GraphConfig
from deployments.contracts import (
    Comparison,
    DetectedPhoto,
    Detections,
    Embeddings,
    FaceChips,
    FaceCrop,
    FoundFaces,
    Photo,
    Rules,
    Scores,
    Similarity,
    StageInfo,
)
from deployments.replica.groups import joined
from deployments.replica.workers import BusyTime, Stopwatch
from graph.http.ingress import Ingress
from graph.pipeline.routing import router

ROUTER = router(hedge_after_s=RetryConfig().hedge_after_s)
WIDTH, HEIGHT = 640, 480
FACE = Detections(
    boxes=np.asarray([(250, 60, 315, 145)], np.float32),
    scores=np.ones(1, np.float32),
    landmarks=np.asarray([[(265, 95), (300, 95), (282, 112), (268, 125), (297, 125)]], np.float32),
)
CROP = FaceCrop(np.zeros((100, 100, 3), np.uint8), left=232, top=52)
CHIP = np.zeros((1, 112, 112, 3), np.uint8)
VECTOR = np.full((1, 512), 512**-0.5, np.float32)
YES, NO = np.ones(1, np.bool_), np.zeros(1, np.bool_)


class Work(Config):
    """A replica's service time. Calls to a busy replica wait inside it, as in the real stages."""

    seconds: float = Field(default=0.0, ge=0)
    at_once: int = Field(default=1, ge=1, description="Concurrent calls of one replica.")


class StandInArgs(Config):
    graph: GraphConfig = Field(default_factory=GraphConfig)
    detector: Work = Field(default_factory=Work)
    aligner: Work = Field(default_factory=Work)
    recognizer: Work = Field(default_factory=Work)
    aggregator: Work = Field(default_factory=Work)


class StandIn:
    def __init__(self, stage: str, work: Work) -> None:
        self._stage, self._seconds = stage, work.seconds
        self._free = asyncio.Semaphore(work.at_once)
        self._busy_time = BusyTime(work.at_once)

    def describe(self) -> StageInfo:
        return StageInfo(self._stage, model=None, runtime="stand-in", device=None)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._busy_time.stats()

    async def _work(self) -> None:
        if self._seconds:
            async with self._free:
                with self._busy_time.counted():
                    await asyncio.sleep(self._seconds)


class DetectorStandIn(StandIn):
    async def detect(self, *parts: Any, crops: bool) -> list[list[DetectedPhoto]]:
        requests: Sequence[Sequence[Photo]] = joined(parts)
        return list(await asyncio.gather(*(self._detected(one, crops) for one in requests)))

    async def _detected(self, photos: Sequence[Photo], crops: bool) -> list[DetectedPhoto]:
        watches = [Stopwatch("detect", photo.field) for photo in photos]
        await self._work()
        return [
            DetectedPhoto(
                FoundFaces(photo.field, WIDTH, HEIGHT, FACE),
                (CROP,) if crops else (),
                (watch.stop(),),
            )
            for photo, watch in zip(photos, watches, strict=True)
        ]


class AlignerStandIn(StandIn):
    async def align(self, group: Sequence[Sequence[DetectedPhoto]]) -> list[list[FaceChips]]:
        watch = Stopwatch("align", None)
        await self._work()
        return [
            [FaceChips(CHIP, photo.faces, (*photo.spans, watch.stop())) for photo in photos]
            for photos in group
        ]


class RecognizerStandIn(StandIn):
    def __init__(self, pool: str, work: Work) -> None:
        super().__init__(f"recognize:{pool}", work)
        self._pool = pool

    async def embed(self, group: Sequence[Sequence[FaceChips]]) -> list[list[Embeddings]]:
        return list(await asyncio.gather(*map(self._embedded, group)))

    async def _embedded(self, photos: Sequence[FaceChips]) -> list[Embeddings]:
        watches = [Stopwatch(self._stage, chips.faces.field) for chips in photos]
        await self._work()
        return [
            Embeddings(VECTOR, None, self._pool, chips.faces, (*chips.spans, watch.stop()))
            for chips, watch in zip(photos, watches, strict=True)
        ]


class AggregatorStandIn(StandIn):
    async def compare(
        self,
        rules: Sequence[Rules],
        *pools: Sequence[Sequence[Embeddings]],
    ) -> list[Comparison]:
        return [
            await self._compared(of_request, pairs)
            for of_request, *pairs in zip(rules, *pools, strict=True)
        ]

    async def _compared(self, rules: Rules, pairs: Sequence[Sequence[Embeddings]]) -> Comparison:
        watch = Stopwatch("compare", None)
        source, target = (part.faces for part in pairs[0])
        assert source is not None
        assert target is not None
        spans = dict.fromkeys(span for pair in pairs for part in pair for span in part.spans)
        await self._work()
        return Comparison(_similarity(rules), source, target, (*spans, watch.stop()))


def build_app(args: StandInArgs) -> Application:
    """The graph of graph/app.py, with the real ingress and a stand-in for each stage."""
    detector = _deployment(DetectorStandIn, "Detector").bind("detector", args.detector)
    aligner = _deployment(AlignerStandIn, "Aligner").bind("aligner", args.aligner)
    recognizers = {
        pool: _deployment(RecognizerStandIn, f"Recognizer:{pool}").bind(pool, args.recognizer)
        for pool in args.graph.recognizers
    }
    aggregator = _deployment(AggregatorStandIn, "Aggregator").bind("aggregator", args.aggregator)
    # Serve's decorators hide the type of the result from type checkers.
    ingress = cast(Deployment, Ingress)
    return ingress.bind(args.graph, detector, aligner, recognizers, {}, aggregator)


def _deployment(stage: type[StandIn], name: str) -> Deployment:
    return serve.deployment(name=name, request_router_config=ROUTER)(stage)


def _similarity(rules: Rules) -> Similarity:
    """One face that matches itself."""
    cosine = np.ones(1, np.float32)
    scores = {
        pool: Scores(cosine, rule, None, None, matched=YES, uncertain=NO)
        for pool, rule in rules.items()
    }
    threshold = np.full(1, next(iter(rules.values())).threshold, np.float64)
    return Similarity(scores, cosine, threshold, YES, NO, np.zeros(1, np.intp))
