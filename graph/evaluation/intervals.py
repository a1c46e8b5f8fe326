"""Bootstrap confidence intervals: the same figure, of pairs drawn again and again."""

from collections.abc import Callable

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import Roc, roc_of_counts

CONFIDENCE = 0.95


def bootstrap(
    roc: Roc, figures: Callable[[Roc], DoubleArray], *, rounds: int, seed: int
) -> tuple[DoubleArray, DoubleArray]:
    """The 2.5% and 97.5% quantiles of `figures` (float64 [F]) over `rounds` resamples.

    Genuine and impostor pairs are drawn separately, with replacement, as many as there are of each
    (Efron's percentile interval). Pairs count as independent: where photos are in several pairs,
    the true interval is wider.
    """
    generator = np.random.default_rng(seed)
    genuine, impostors = np.diff(roc.true_accepts), np.diff(roc.false_accepts)
    drawn = np.asarray(
        [
            figures(
                roc_of_counts(
                    roc.thresholds[1:],
                    generator.multinomial(roc.genuine, genuine / roc.genuine),
                    generator.multinomial(roc.impostors, impostors / roc.impostors),
                )
            )
            for _ in range(rounds)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(drawn, tail, axis=0), np.quantile(drawn, 1 - tail, axis=0)
