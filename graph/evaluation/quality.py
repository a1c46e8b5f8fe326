"""Errors by the quality of faces: error versus discard, and a suggested `min_quality`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from configs.base import Config
from deployments.contracts import DoubleArray
from graph.evaluation.discard import DiscardCurve, error_versus_discard
from graph.evaluation.verification import RULE_OF_30, IntArray, PairScores

# Rule of three: with no error among N trials, the true rate is at most 3 / N with 95% confidence
# (Jovanovic and Levy, A Look at the Rule of Three, The American Statistician 51, 1997).
RULE_OF_3 = 3
# Every `min_quality` of four decimals.
_LIMITS = np.arange(10_001) / 10_000
# A wanted FAR may differ from its fraction by a rounding of the last digit.
_ROUNDING = 1e-9


class QualitySuggestion(Config):
    """The lowest `min_quality` from which the pairs that are left have at most the wanted FAR, and
    the rates observed there."""

    wanted_far: float
    threshold: float
    measurable: bool = Field(description="At least 3 / wanted_far impostor pairs are left.")
    reached: bool = Field(
        description="false if no limit reaches the wanted FAR; min_quality is then the highest one"
        " that leaves an impostor pair."
    )
    min_quality: float
    far: float
    frr: float | None = Field(description="null if no genuine pair is left.")
    genuine_rejected: float = Field(description="Fraction of the genuine pairs that is left out.")
    impostor_pairs: int = Field(description="Impostor pairs that are left.")
    impostors_accepted: int

    @property
    def reliable(self) -> bool:
        return self.impostors_accepted >= RULE_OF_30


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """One recognizer's errors by the quality of its faces, at its threshold in force."""

    curve: DiscardCurve
    suggestion: QualitySuggestion

    def as_json(self) -> dict[str, Any]:
        return {**self.curve.as_json(), "suggestion": self.suggestion.model_dump(mode="json")}


def quality_figures(
    pairs: PairScores, quality: DoubleArray, threshold: float, wanted_far: float
) -> QualityFigures | None:
    """Figures of the P pairs that were compared and whose quality is known.

    quality: float64 [P], NaN if unknown. Returns None if no genuine or no impostor pair is left.
    """
    known = np.isfinite(pairs.scores) & np.isfinite(quality)
    pairs, quality = pairs.select(known), quality[known]
    if pairs.same.all() or not pairs.same.any():
        return None
    return QualityFigures(
        error_versus_discard(pairs, quality, threshold),
        suggested_min_quality(pairs, quality, threshold, wanted_far),
    )


def suggested_min_quality(
    pairs: PairScores, quality: DoubleArray, threshold: float, wanted_far: float
) -> QualitySuggestion:
    """The `min_quality` to suggest for P compared pairs, at least one of each kind.

    quality: float64 [P], 0 to 1. A pair is left if its quality is at least the limit.
    """
    accepted = pairs.scores >= threshold
    genuine, impostors = _left(quality[pairs.same]), _left(quality[~pairs.same])
    matches, false_matches = (
        _left(quality[pairs.same & accepted]),
        _left(quality[~pairs.same & accepted]),
    )
    good = (false_matches <= wanted_far * impostors + _ROUNDING) & (impostors > 0)
    reached = bool(good.any())
    at = int(np.argmax(good)) if reached else int(np.flatnonzero(impostors)[-1])
    return QualitySuggestion(
        wanted_far=wanted_far,
        threshold=threshold,
        measurable=bool(impostors[at] * wanted_far >= RULE_OF_3 - _ROUNDING),
        reached=reached,
        min_quality=float(_LIMITS[at]),
        far=float(false_matches[at] / impostors[at]),
        frr=float(1 - matches[at] / genuine[at]) if genuine[at] else None,
        genuine_rejected=float(1 - genuine[at] / genuine[0]),
        impostor_pairs=int(impostors[at]),
        impostors_accepted=int(false_matches[at]),
    )


def _left(quality: DoubleArray) -> IntArray:
    """The number of pairs that each of the limits leaves, int64 [10001]."""
    left: IntArray = len(quality) - np.searchsorted(np.sort(quality), _LIMITS)
    return left
