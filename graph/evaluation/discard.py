"""Error-versus-discard characteristic (EDC), which measures a recognizer's uncertainty.

If uncertainty tells which pairs are decided wrongly, discarding the most uncertain pairs first
lowers the error of the rest (Grother and Tabassi, Performance of Biometric Quality Measures, 2007,
under the name of error versus reject).
"""

from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import BoolArray, PairScores, area_under


@dataclass(frozen=True, slots=True)
class DiscardCurve:
    """Error rates of the pairs that are left, at a fixed threshold.

    discarded: float64 [P], fractions of the pairs discarded, from 0 up to all but one pair. error:
    fraction of the remaining pairs that is decided wrongly; frr: of the remaining genuine pairs;
    far: of the remaining impostor pairs. NaN if no pair of the kind is left.
    """

    threshold: float
    discarded: DoubleArray
    error: DoubleArray
    frr: DoubleArray
    far: DoubleArray

    @property
    def area(self) -> float:
        """The mean error over all fractions discarded; smaller is better. Uncertainty that carries
        no information leaves it at the error of all pairs."""
        if len(self.discarded) < 2:
            return float(self.error[0])
        return area_under(self.error, self.discarded) / float(self.discarded[-1])


def pair_uncertainty(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """The uncertainty of each pair: the larger one of its two faces, as in the aggregator."""
    larger: DoubleArray = np.maximum(first, second)
    return larger


def error_versus_discard(
    pairs: PairScores, uncertainty: DoubleArray, threshold: float
) -> DiscardCurve:
    """Compute the curve of P compared pairs, at least one.

    uncertainty: float64 [P]. The most uncertain pair is discarded first; of equally uncertain
    pairs, the first one.
    """
    order = np.argsort(-uncertainty, kind="stable")
    same = pairs.same[order]
    wrong = (pairs.scores[order] >= threshold) != same
    return DiscardCurve(
        threshold=threshold,
        discarded=np.arange(len(order)) / len(order),
        error=_rate_of_rest(wrong, np.ones_like(same)),
        frr=_rate_of_rest(wrong & same, same),
        far=_rate_of_rest(wrong & ~same, ~same),
    )


def _rate_of_rest(wrong: BoolArray, kind: BoolArray) -> DoubleArray:
    """For each i, the fraction of wrong decisions among the pairs of the kind from i on."""
    left = np.cumsum(kind[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        rates: DoubleArray = np.cumsum(wrong[::-1])[::-1] / left
    return rates
