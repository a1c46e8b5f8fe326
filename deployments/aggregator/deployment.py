"""The aggregator's replicas: embeddings in, similarities and a decision out."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ray import serve

from configs.aggregator import AggregatorConfig
from deployments.aggregator.scoring import cosines, decide
from deployments.contracts import Embeddings, Similarity, StageInfo
from deployments.runtime.workers import Stopwatch


@serve.deployment(name="Aggregator")
class AggregatorDeployment:
    def __init__(self, config: AggregatorConfig) -> None:
        self._fusion = config.fusion
        self.check_health()

    def check_health(self) -> None:
        one = np.ones((1, 1), np.float32)
        decide({"canary": cosines(one[0], one)}, {"canary": 1.0}, fusion=self._fusion)

    def describe(self) -> StageInfo:
        return StageInfo("aggregator", model=None, runtime="numpy", device="cpu")

    def compare(self, thresholds: Mapping[str, float], *embeddings: Embeddings) -> Similarity:
        """The first face of the source against every face of the target.

        embeddings: for each recognizer the source's, then the target's; they are arguments of
        their own so that each arrives straight from its pool. A source without a face gives no
        similarity.
        """
        watch = Stopwatch("compare", None)
        pairs = list(zip(embeddings[::2], embeddings[1::2], strict=True))
        spans = dict.fromkeys(span for part in embeddings for span in part.spans)
        scores = {
            source.recognizer: cosines(source.vectors[0], target.vectors)
            if len(source)
            else np.zeros(0, np.float32)
            for source, target in pairs
        }
        decided = decide(scores, thresholds, fusion=self._fusion)
        return replace(decided, spans=(*spans, watch.stop()))
