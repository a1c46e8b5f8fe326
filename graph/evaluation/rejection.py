"""Error versus reject: what a recognizer's uncertainty is worth.

If uncertainty tells which pairs will go wrong, leaving out the most uncertain first lowers the
error of the rest (Grother and Tabassi, Performance of Biometric Quality Measures, 2007).
"""

from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.verification import BoolArray, PairScores, area_under


@dataclass(frozen=True, slots=True)
class RejectionCurve:
    """Errors among the pairs that are left, at a fixed threshold.

    rejected: float64 [P], parts of the pairs left out, from 0 up to all but one. error: of all that
    are left, the part called wrong; missed: of the genuine pairs left; accepted: of the impostor
    pairs left. NaN where none of the kind is left.
    """

    threshold: float
    rejected: DoubleArray
    error: DoubleArray
    missed: DoubleArray
    accepted: DoubleArray

    @property
    def area(self) -> float:
        """Under the error, over the whole range of rejection; less is better. Uncertainty that
        tells nothing leaves the error where it began."""
        if len(self.rejected) < 2:
            return float(self.error[0])
        return area_under(self.error, self.rejected) / float(self.rejected[-1])


def pair_uncertainty(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """A pair is as uncertain as its more uncertain face, as the aggregator holds it."""
    larger: DoubleArray = np.maximum(first, second)
    return larger


def error_versus_reject(
    pairs: PairScores, uncertainty: DoubleArray, threshold: float
) -> RejectionCurve:
    """pairs: compared ones, at least one. uncertainty: float64 [P], larger is rejected earlier;
    of equally uncertain pairs, the first is."""
    order = np.argsort(-uncertainty, kind="stable")
    same = pairs.same[order]
    wrong = (pairs.scores[order] >= threshold) != same
    return RejectionCurve(
        threshold=threshold,
        rejected=np.arange(len(order)) / len(order),
        error=_rate_of_rest(wrong, np.ones_like(same)),
        missed=_rate_of_rest(wrong & same, same),
        accepted=_rate_of_rest(wrong & ~same, ~same),
    )


def _rate_of_rest(wrong: BoolArray, kind: BoolArray) -> DoubleArray:
    """For each i, the wrong ones among those of the kind from i on."""
    left = np.cumsum(kind[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        rates: DoubleArray = np.cumsum(wrong[::-1])[::-1] / left
    return rates
