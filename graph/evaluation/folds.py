"""Accuracy with the threshold chosen on other pairs, as LFW's View 2 does it."""

from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import IntArray, PairScores, roc_of

FOLDS = 10


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """accuracies, thresholds: float64 [F], each fold's, with the threshold the others chose."""

    accuracies: DoubleArray
    thresholds: DoubleArray

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean: the folds' standard deviation over the root of their number."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def fold_accuracy(pairs: PairScores, folds: IntArray) -> FoldAccuracy:
    """folds: int64 [P], the fold that each pair belongs to; at least two different ones."""
    names = np.unique(folds)
    thresholds = [best_threshold(pairs.select(folds != name)) for name in names]
    accuracies = [
        accuracy(pairs.select(folds == name), threshold)
        for name, threshold in zip(names, thresholds, strict=True)
    ]
    return FoldAccuracy(np.asarray(accuracies), np.asarray(thresholds))


def accuracy(pairs: PairScores, threshold: float) -> float:
    """The part of the pairs that is called right."""
    return float(((pairs.scores >= threshold) == pairs.same).mean())


def best_threshold(pairs: PairScores) -> float:
    """The threshold that calls most pairs right; the middle one of several."""
    roc = roc_of(pairs)
    right = roc.true_accepts + roc.impostors - roc.false_accepts
    best = np.flatnonzero(right == right.max())
    return roc.threshold_at(int(best[len(best) // 2]))


def drawn_folds(pairs: PairScores, seed: int) -> IntArray | None:
    """Folds for pairs that come without: int64 [P], at random, each with as many genuine and as
    many impostor pairs as the next, give or take one. None where there are not two of each kind;
    fewer than ten folds where there are not ten of each.

    LFW's own folds share no person; these may.
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
