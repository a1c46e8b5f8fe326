"""One-to-one figures from scores and labels: ROC, AUC, EER, TAR at FAR, d', accuracy by folds.

A pair is called one person where its score is at least the threshold, as the aggregator decides.
A pair that could not be compared has the score -inf: it is called two people at every threshold.
docs/evaluation.md defines every figure and names its source.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.contracts import DoubleArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# A rate is only known where errors were seen: from 30 on, the true rate lies within 30% of the
# observed one with 90% confidence (Doddington's rule of 30; Mansfield and Wayman, Best Practices in
# Testing and Reporting Performance of Biometric Devices, 2002).
RULE_OF_30 = 30
# Rates are fractions of counts; a wanted one may miss its fraction by a rounding of the last digit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PairScores:
    """scores: float64 [P], -inf where a pair could not be compared. same: bool [P]."""

    scores: DoubleArray
    same: BoolArray

    @property
    def genuine(self) -> DoubleArray:
        return self.scores[self.same]

    @property
    def impostor(self) -> DoubleArray:
        return self.scores[~self.same]

    def compared(self) -> "PairScores":
        """Without the pairs that could not be compared."""
        return self.select(np.isfinite(self.scores))

    def select(self, which: BoolArray) -> "PairScores":
        return PairScores(self.scores[which], self.same[which])


@dataclass(frozen=True, slots=True)
class Roc:
    """What is accepted from each distinct score on; point 0 accepts nothing, the last everything.

    thresholds: float64 [K+1], falling, the first inf. true_accepts, false_accepts: int64 [K+1],
    genuine and impostor pairs that score at least the threshold.
    """

    thresholds: DoubleArray
    true_accepts: IntArray
    false_accepts: IntArray

    @property
    def genuine(self) -> int:
        return int(self.true_accepts[-1])

    @property
    def impostors(self) -> int:
        return int(self.false_accepts[-1])

    @property
    def tar(self) -> DoubleArray:
        return _rate(self.true_accepts)

    @property
    def far(self) -> DoubleArray:
        return _rate(self.false_accepts)

    def threshold_at(self, point: int) -> float:
        """A threshold that accepts exactly what `point` does: half way to the next lower score, so
        that it hangs on neither."""
        upper = float(self.thresholds[point])
        lower = float(self.thresholds[point + 1]) if point + 1 < len(self.thresholds) else -np.inf
        if np.isinf(lower):
            return upper if np.isfinite(upper) else -1.0
        return float(np.nextafter(lower, np.inf)) if np.isinf(upper) else (upper + lower) / 2


def roc_of(pairs: PairScores) -> Roc:
    """Every operating point of these scores, without thinning or interpolation."""
    values, positions = np.unique(pairs.scores, return_inverse=True)
    size = len(values)
    genuine = np.bincount(positions[pairs.same], minlength=size)[::-1]
    impostors = np.bincount(positions[~pairs.same], minlength=size)[::-1]
    return roc_of_counts(values[::-1], genuine, impostors)


def roc_of_counts(scores: DoubleArray, genuine: IntArray, impostors: IntArray) -> Roc:
    """The ROC of pairs counted by score. scores: float64 [K], falling; counts: int64 [K]."""
    return Roc(
        np.concatenate([[np.inf], scores]),
        np.concatenate([[0], np.cumsum(genuine)]),
        np.concatenate([[0], np.cumsum(impostors)]),
    )


def auc(roc: Roc) -> float:
    """The area under the ROC, which is the chance that a genuine pair outscores an impostor pair,
    ties counting half (Mann and Whitney)."""
    return area_under(roc.tar, roc.far)


def equal_error_rate(roc: Roc) -> tuple[float, float]:
    """Where as large a part of the impostors is accepted as of the genuine pairs is rejected: the
    rate, on the line between the two operating points around it, and a threshold there."""
    far, missed = roc.far, 1 - roc.tar
    after = int(
        np.argmax(far >= missed)
    )  # rises from 0 - 1 at the first point to 1 - 0 at the last
    before = max(after - 1, 0)
    gap_before, gap_after = far[before] - missed[before], far[after] - missed[after]
    part = 0.0 if gap_after == gap_before else -gap_before / (gap_after - gap_before)
    rate = far[before] + part * (far[after] - far[before])
    return float(rate), roc.threshold_at(after if part > 0.5 else before)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The most genuine pairs that can be accepted at a wanted FAR.

    far and tar are those of these pairs at `threshold`; errors: impostor pairs accepted there.
    """

    wanted_far: float
    threshold: float
    far: float
    tar: float
    errors: int
    measurable: bool

    @property
    def reliable(self) -> bool:
        return self.errors >= RULE_OF_30


def operating_point(roc: Roc, wanted_far: float) -> OperatingPoint:
    """The point of the highest TAR whose FAR is at most the wanted one.

    It is measurable where one impostor pair too many makes no larger FAR than that: with at least
    1 / wanted_far of them. Below, nothing observed could tell this FAR from a smaller one.
    """
    point = _point_at(roc, wanted_far)
    return OperatingPoint(
        wanted_far=wanted_far,
        threshold=roc.threshold_at(point),
        far=float(roc.far[point]),
        tar=float(roc.tar[point]),
        errors=int(roc.false_accepts[point]),
        measurable=roc.impostors * wanted_far >= 1 - _ROUNDING,
    )


def tar_at(roc: Roc, wanted_far: float) -> float:
    return float(roc.tar[_point_at(roc, wanted_far)])


def d_prime(pairs: PairScores) -> float:
    """How far apart the two kinds of scores lie, in standard deviations: |mean - mean| over the
    root of the mean variance (Daugman 2000), of the pairs that were compared. NaN where there are
    fewer than two of either kind, inf where neither varies."""
    compared = pairs.compared()
    genuine, impostor = compared.genuine, compared.impostor
    if min(len(genuine), len(impostor)) < 2:
        return float("nan")
    distance = abs(genuine.mean() - impostor.mean())
    spread = np.sqrt((genuine.var(ddof=1) + impostor.var(ddof=1)) / 2)
    return float(distance / spread) if spread else float("inf")


def worst_pairs(pairs: PairScores, count: int) -> tuple[IntArray, IntArray]:
    """Indices of the genuine pairs that score lowest, lowest first, and of the impostor pairs that
    score highest, highest first; of those that were compared."""
    order = np.argsort(pairs.scores, kind="stable")
    order = order[np.isfinite(pairs.scores[order])]
    same = pairs.same[order]
    return order[same][:count], order[~same][::-1][:count]


def area_under(values: DoubleArray, over: DoubleArray) -> float:
    """By the trapezoidal rule."""
    return float(((values[1:] + values[:-1]) / 2 * np.diff(over)).sum())


def _point_at(roc: Roc, wanted_far: float) -> int:
    allowed = int(np.floor(wanted_far * roc.impostors + _ROUNDING))
    return int(np.searchsorted(roc.false_accepts, allowed, side="right")) - 1


def _rate(counts: IntArray) -> DoubleArray:
    rates: DoubleArray = counts / max(int(counts[-1]), 1)
    return rates
