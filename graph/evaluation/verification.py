"""Figures of face verification from scores and labels: ROC, AUC, EER, TAR at FAR, d'.

A pair is accepted (decided to show one person) if its score is at least the threshold, as in the
aggregator. A pair that could not be compared has the score -inf: it is rejected at every threshold.
docs/evaluation.md defines every figure and names its source.

scikit-learn's `roc_curve` gives the same points. It is not used, as it refuses the score -inf and
returns rates: the bootstrap draws counts, and operating points are found by counting.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.contracts import DoubleArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# Doddington's rule of 30: from 30 errors on, the true rate lies within 30% of the observed one with
# 90% confidence (Mansfield and Wayman, Best Practices in Testing and Reporting Performance of
# Biometric Devices, 2002).
RULE_OF_30 = 30
# A wanted rate may differ from its fraction by a rounding of the last digit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores and labels of P pairs.

    scores: float64 [P], -inf for a pair that could not be compared. same: bool [P], True for a
    genuine pair.
    """

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
    """A ROC by its operating points, one for each distinct score as the threshold.

    thresholds: float64 [K+1], falling, the first inf: point 0 accepts no pair, the last accepts
    all. true_accepts, false_accepts: int64 [K+1], numbers of genuine and of impostor pairs whose
    score is at least the threshold.
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
        """A threshold that accepts the same pairs as `point`: half way to the next lower score, so
        that a rounding of either score changes no decision."""
        upper = float(self.thresholds[point])
        lower = float(self.thresholds[point + 1]) if point + 1 < len(self.thresholds) else -np.inf
        if np.isinf(lower):
            return upper if np.isfinite(upper) else -1.0
        return float(np.nextafter(lower, np.inf)) if np.isinf(upper) else (upper + lower) / 2


def roc_of(pairs: PairScores) -> Roc:
    """The ROC of these pairs: every operating point, none left out, none interpolated."""
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
    """The area under the ROC: the probability that a genuine pair outscores an impostor pair, ties
    counting half (Mann and Whitney 1947)."""
    return area_under(roc.tar, roc.far)


def equal_error_rate(roc: Roc) -> tuple[float, float]:
    """The EER, interpolated linearly between the two operating points around FAR = FRR; and a
    threshold at the nearer of the two."""
    far, frr = roc.far, 1 - roc.tar
    # far - frr rises from -1 at the first point to 1 at the last.
    after = int(np.argmax(far >= frr))
    before = max(after - 1, 0)
    gap_before, gap_after = far[before] - frr[before], far[after] - frr[after]
    part = 0.0 if gap_after == gap_before else -gap_before / (gap_after - gap_before)
    rate = far[before] + part * (far[after] - far[before])
    return float(rate), roc.threshold_at(after if part > 0.5 else before)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The point of the highest TAR whose FAR is at most `wanted_far`.

    far, tar: as observed at `threshold`. errors: impostor pairs accepted there. measurable: True if
    there are enough impostor pairs to observe the wanted FAR.
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
    """The operating point for a wanted FAR.

    It is measurable from 1 / wanted_far impostor pairs on. With fewer, a single accepted pair makes
    a larger FAR, and no observation tells the wanted FAR from a smaller one.
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
    """The highest TAR whose FAR is at most the wanted one."""
    return float(roc.tar[_point_at(roc, wanted_far)])


def d_prime(pairs: PairScores) -> float:
    """The decidability index d': the difference of the two mean scores over the root of their mean
    variance (Daugman 2000), of the pairs that were compared. NaN with fewer than two pairs of a
    kind, inf if neither kind varies."""
    compared = pairs.compared()
    genuine, impostor = compared.genuine, compared.impostor
    if min(len(genuine), len(impostor)) < 2:
        return float("nan")
    distance = abs(genuine.mean() - impostor.mean())
    spread = np.sqrt((genuine.var(ddof=1) + impostor.var(ddof=1)) / 2)
    return float(distance / spread) if spread else float("inf")


def worst_pairs(pairs: PairScores, count: int) -> tuple[IntArray, IntArray]:
    """Indices of the `count` genuine pairs with the lowest scores, lowest first, and of the
    impostor pairs with the highest scores, highest first; compared pairs only."""
    order = np.argsort(pairs.scores, kind="stable")
    order = order[np.isfinite(pairs.scores[order])]
    same = pairs.same[order]
    return order[same][:count], order[~same][::-1][:count]


def area_under(values: DoubleArray, over: DoubleArray) -> float:
    """The area under `values` by the trapezoidal rule."""
    return float(((values[1:] + values[:-1]) / 2 * np.diff(over)).sum())


def _point_at(roc: Roc, wanted_far: float) -> int:
    allowed = int(np.floor(wanted_far * roc.impostors + _ROUNDING))
    return int(np.searchsorted(roc.false_accepts, allowed, side="right")) - 1


def _rate(counts: IntArray) -> DoubleArray:
    rates: DoubleArray = counts / max(int(counts[-1]), 1)
    return rates
