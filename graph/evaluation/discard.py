"""Error-versus-discard characteristic (EDC), which measures a quality of faces, or an uncertainty.

If a quality tells which pairs are decided wrongly, discarding the pairs of the lowest quality first
lowers the error of the rest (ISO/IEC 29794-1; Grother and Tabassi, Performance of Biometric Quality
Measures, 2007, under the name of error versus reject).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import BoolArray, PairScores, area_under

_JSON_POINTS = 200


@dataclass(frozen=True, slots=True)
class DiscardCurve:
    """Error rates of the pairs that are left, at a fixed threshold.

    discarded: float64 [K], fractions of the pairs discarded, from 0 on, one for each of K distinct
    qualities; some pair is always left. error: fraction of the remaining pairs that is decided
    wrongly; frr: of the remaining genuine pairs; far: of the remaining impostor pairs. NaN if no
    pair of the kind is left.
    """

    threshold: float
    discarded: DoubleArray
    error: DoubleArray
    frr: DoubleArray
    far: DoubleArray

    @property
    def area(self) -> float:
        """The mean error over all fractions discarded; smaller is better. A quality that carries
        no information leaves it at the error of all pairs."""
        if len(self.discarded) < 2:
            return float(self.error[0])
        return area_under(self.error, self.discarded) / float(self.discarded[-1])

    def as_json(self) -> dict[str, Any]:
        """The curve, thinned to the resolution of a plot; null for a rate of no pairs."""
        points = np.linspace(0, len(self.discarded) - 1, _JSON_POINTS).astype(np.int64)
        shown = np.unique(points)
        return {
            "threshold": self.threshold,
            "area": self.area,
            "rejected": self.discarded[shown].tolist(),
            "error": self.error[shown].tolist(),
            "missed": _finite(self.frr[shown]),
            "accepted": _finite(self.far[shown]),
        }


def pair_uncertainty(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """The uncertainty of each pair: the larger one of its two faces, as in the aggregator."""
    larger: DoubleArray = np.maximum(first, second)
    return larger


def pair_quality(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """The quality of each pair: the lower one of its two faces, as in the aggregator."""
    lower: DoubleArray = np.minimum(first, second)
    return lower


def error_versus_discard(pairs: PairScores, quality: DoubleArray, threshold: float) -> DiscardCurve:
    """Compute the curve of P compared pairs, at least one.

    quality: float64 [P], or the negative uncertainty. Pairs of the lowest quality are discarded
    first, pairs of equal quality at once.
    """
    order = np.argsort(quality, kind="stable")
    first = np.unique(quality[order], return_index=True)[1]
    same = pairs.same[order]
    wrong = (pairs.scores[order] >= threshold) != same
    return DiscardCurve(
        threshold=threshold,
        discarded=first / len(order),
        error=_rate_of_rest(wrong, np.ones_like(same))[first],
        frr=_rate_of_rest(wrong & same, same)[first],
        far=_rate_of_rest(wrong & ~same, ~same)[first],
    )


def _rate_of_rest(wrong: BoolArray, kind: BoolArray) -> DoubleArray:
    """For each i, the fraction of wrong decisions among the pairs of the kind from i on."""
    left = np.cumsum(kind[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        rates: DoubleArray = np.cumsum(wrong[::-1])[::-1] / left
    return rates


def _finite(values: DoubleArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
