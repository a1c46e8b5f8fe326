"""Accuracy by cross-validation, each fold at the threshold of the others (LFW's View 2)."""

from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import IntArray, PairScores, roc_of

FOLDS = 10


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Accuracy by cross-validation over F folds.

    accuracies: float64 [F]. thresholds: float64 [F], each chosen on the other folds.
    """

    accuracies: DoubleArray
    thresholds: DoubleArray

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean: the folds' standard deviation (n - 1) over the root of
        their number."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def fold_accuracy(pairs: PairScores, folds: IntArray) -> FoldAccuracy:
    """Evaluate each fold at the best threshold of the others.

    folds: int64 [P], the fold of each pair; at least two different ones.
    """
    names = np.unique(folds)
    thresholds = [best_threshold(pairs.select(folds != name)) for name in names]
    accuracies = [
        accuracy(pairs.select(folds == name), threshold)
        for name, threshold in zip(names, thresholds, strict=True)
    ]
    return FoldAccuracy(np.asarray(accuracies), np.asarray(thresholds))


def accuracy(pairs: PairScores, threshold: float) -> float:
    """The fraction of the pairs that is decided correctly."""
    return float(((pairs.scores >= threshold) == pairs.same).mean())


def best_threshold(pairs: PairScores) -> float:
    """The threshold with the highest accuracy; of several, the middle one."""
    roc = roc_of(pairs)
    correct = roc.true_accepts + roc.impostors - roc.false_accepts
    best = np.flatnonzero(correct == correct.max())
    return roc.threshold_at(int(best[len(best) // 2]))


def drawn_folds(pairs: PairScores, seed: int) -> IntArray | None:
    """Random stratified folds for a list without folds: int64 [P].

    Ten folds with the same number of genuine and of impostor pairs each, give or take one; fewer
    folds if there are fewer than ten pairs of a kind, None if fewer than two. LFW's own folds share
    no person; these may.
    """
    fewest = min(len(pairs.genuine), len(pairs.impostor))
    if fewest < 2:
        return None
    generator = np.random.default_rng(seed)
    folds = np.empty(len(pairs.same), np.int64)
    for kind in (pairs.same, ~pairs.same):
        members = generator.permutation(np.flatnonzero(kind))
        folds[members] = np.arange(len(members)) % min(FOLDS, fewest)
    return folds
