"""The aggregator's replicas: embeddings in, similarities and a decision out."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ray import serve

from configs.aggregator import AggregatorConfig
from deployments.aggregator.scoring import compare
from deployments.contracts import Embeddings, Rule, Similarity, StageInfo
from deployments.runtime.workers import Stopwatch


@serve.deployment(name="Aggregator")
class AggregatorDeployment:
    def __init__(self, config: AggregatorConfig) -> None:
        self._config = config
        self.check_health()

    def check_health(self) -> None:
        canary = Embeddings(np.ones((1, 1), np.float32), None, "canary")
        compare([(canary, canary)], {"canary": Rule(1.0)}, self._config)

    def describe(self) -> StageInfo:
        return StageInfo("aggregator", model=None, runtime="numpy", device="cpu")

    def compare(
        self, rules: Mapping[str, Rule], *pairs: tuple[Embeddings, Embeddings]
    ) -> Similarity:
        """The first face of the source against every face of the target.

        pairs: by each recognizer the source's and the target's embeddings; arguments of their own,
        so that each pair arrives straight from its pool.
        """
        watch = Stopwatch("compare", None)
        similarity = compare(pairs, rules, self._config)
        spans = dict.fromkeys(span for pair in pairs for part in pair for span in part.spans)
        return replace(similarity, spans=(*spans, watch.stop()))
