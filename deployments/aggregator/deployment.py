"""The aggregator's Ray deployment: embeddings in, similarities and decisions out."""

from collections.abc import Sequence

import numpy as np
from ray import serve
from ray.serve import metrics

from configs.aggregator import AggregatorConfig
from deployments.aggregator.groups import compare_group
from deployments.aggregator.scoring import compare
from deployments.contracts import Comparison, DecisionRule, Embeddings, Rules, StageInfo
from deployments.replica.groups import Slot
from deployments.replica.logs import guard_log
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import BusyTime


@serve.deployment(name="Aggregator")
class AggregatorDeployment:
    def __init__(self, config: AggregatorConfig) -> None:
        guard_log()
        self._config = config
        self._metrics = StageMetrics(metrics)
        self._busy_time = BusyTime(workers=1)
        self.check_health()

    def check_health(self) -> None:
        canary = Embeddings(np.ones((1, 1), np.float32), None, "canary")
        compare([(canary, canary)], {"canary": DecisionRule(1.0)}, self._config)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._busy_time.stats()

    def describe(self) -> StageInfo:
        return StageInfo("aggregator", model=None, runtime="numpy", device="cpu")

    def compare(
        self,
        rules: Sequence[Rules],
        *pools: Sequence[Slot[Sequence[Embeddings]]],
    ) -> list[Slot[Comparison]]:
        """Compare the first face of each request's source with every face of its target.

        rules: by request, then by recognizer. pools: each recognizer's answer to the group, an
        argument of its own, so that it comes by handle: the embeddings of a request's source and
        target, or its error.
        """
        with self._busy_time.counted():
            return compare_group(self._config, rules, pools, self._metrics.done)
