"""Figures of open-set identification, with confidence intervals, as the report gives them."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from pydantic import Field

from configs.base import Config
from deployments.contracts import DoubleArray
from deployments.gallery.contracts import Scoring
from graph.evaluation.figures import (
    CONFIDENCE,
    Figure,
    NothingToMeasure,
    curve_of,
    suggestion,
    with_intervals,
)
from graph.evaluation.identification import STEPS, IdentificationOptions, Searches
from graph.evaluation.verification import (
    RULE_OF_30,
    BoolArray,
    Roc,
    operating_point,
    roc_of,
    tar_at,
)

FPIRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
# Margins to the second person for which decisions are counted.
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)
# A wanted rate may differ from its fraction by a rounding of the last digit.
_ROUNDING = 1e-9


class RankRate(Config):
    """Fraction of the mated searches whose person is among the first `rank` candidates."""

    rank: int
    rate: Figure


class FnirAtFpir(Config):
    """The lowest FNIR at a threshold with an FPIR of at most `wanted_fpir`."""

    wanted_fpir: float
    measurable: bool = Field(description="There are at least 1 / wanted_fpir non-mated searches.")
    reliable: bool = Field(description="At least 30 non-mated searches return a person there.")
    fnir: Figure | None = Field(description="null if it is not measurable.")
    threshold: float | None


class Rates(Config):
    """Rates at a threshold. misidentified: mated searches whose first candidate is another person
    at the threshold or above; they are part of the FNIR."""

    threshold: float
    fpir: Figure
    fnir: Figure
    misidentified: Figure


class ThresholdSuggestion(Config):
    """A threshold for the wanted FPIR, rounded up to four decimals, and the rates there."""

    wanted_fpir: float
    measurable: bool
    reliable: bool
    reached: bool = Field(
        description="false if even the threshold 1 returns a person in too many non-mated searches."
    )
    rates: Rates


class MarginRates(Config):
    """Decisions at the suggested threshold with a `min_margin`. uncertain: fractions of the
    searches whose first candidate reaches the threshold, and is less than the margin ahead."""

    min_margin: float
    fpir: float
    fnir: float
    misidentified: float
    uncertain_mated: float
    uncertain_non_mated: float


class Det(Config):
    """Points of the DET curve, thinned to the resolution of a plot."""

    fpir: list[float]
    fnir: list[float]
    threshold: list[float]


class IdentificationFigures(Config):
    """All figures of one recognizer in a gallery of one size, by one scoring."""

    persons: int
    scoring: Scoring
    mated_searches: int
    non_mated_searches: int
    rank_rates: list[RankRate]
    suggestion: ThresholdSuggestion
    in_force: Rates = Field(description="At the recognizer's configured threshold.")
    fnir_at_fpir: list[FnirAtFpir]
    margins: list[MarginRates]
    min_margin: float = Field(
        description="Lowest one, of four decimals, with which at most wanted_fpir of the mated"
        " searches are matched with another person at the suggested threshold."
    )
    det: Det


class Extrapolation(Config):
    """A threshold for a gallery of more persons than there are, by FPIR(N) = 1 - (1 - FMR)^N, which
    takes the comparisons of one search as independent (Daugman, Biometric Decision Landscapes,
    2000).

    fnir: that of the largest measured gallery at this threshold; among more persons it is no lower.
    """

    persons: int
    wanted_fpir: float
    wanted_fmr: float
    measurable: bool = Field(description="There are at least 1 / wanted_fmr comparisons.")
    reliable: bool = Field(description="At least 30 comparisons of strangers are accepted.")
    reached: bool
    threshold: float
    fmr: float = Field(description="As observed at the threshold.")
    fpir: float = Field(description="As extrapolated from that FMR.")
    fnir: float


def identification_figures(
    searches: Searches, scoring: Scoring, in_force: float, options: IdentificationOptions
) -> IdentificationFigures:
    """All figures of these searches. in_force: the recognizer's configured threshold.

    Raises NothingToMeasure.
    """
    mated, non_mated = len(searches.mate), len(searches.non_mated.first)
    if not mated or not non_mated:
        kind = "non-mated" if mated else "mated"
        raise NothingToMeasure(f"a gallery of {searches.persons} persons has no {kind} search")
    roc = roc_of(searches.scores)
    suggested = _suggestion(searches, roc, options.fpir)
    threshold = suggested.rates.threshold
    det = curve_of(roc)
    return IdentificationFigures(
        persons=searches.persons,
        scoring=scoring,
        mated_searches=mated,
        non_mated_searches=non_mated,
        rank_rates=[
            RankRate(rank=rank, rate=proportion(searches.rank <= rank)) for rank in options.ranks
        ],
        suggestion=suggested,
        in_force=rates_at(searches, in_force),
        fnir_at_fpir=_fnir_at_fpirs(roc, options),
        margins=[margin_rates(searches, threshold, margin) for margin in MARGINS],
        min_margin=min_margin(searches, threshold, options.fpir),
        det=Det(
            fpir=det.far,
            fnir=[1 - rate for rate in det.tar],
            threshold=det.threshold,
        ),
    )


def proportion(hits: BoolArray) -> Figure:
    """The fraction of True, with its 95% Wilson score interval (Wilson 1927), which is an interval
    also where the fraction is 0 or 1."""
    count, trials = int(hits.sum()), len(hits)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    rate = count / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    return Figure(value=rate, low=max(0.0, centre - half), high=min(1.0, centre + half))


def rates_at(searches: Searches, threshold: float) -> Rates:
    named = searches.mated.first >= threshold
    right = (searches.rank == 1) & named
    return Rates(
        threshold=threshold,
        fpir=proportion(searches.non_mated.first >= threshold),
        fnir=proportion(~right),
        misidentified=proportion(named & ~right),
    )


def margin_rates(searches: Searches, threshold: float, margin: float) -> MarginRates:
    named = searches.mated.first >= threshold
    false = searches.non_mated.first >= threshold
    ahead, false_ahead = searches.mated.margin >= margin, searches.non_mated.margin >= margin
    right = searches.rank == 1
    return MarginRates(
        min_margin=margin,
        fpir=float((false & false_ahead).mean()),
        fnir=float(1 - (named & ahead & right).mean()),
        misidentified=float((named & ahead & ~right).mean()),
        uncertain_mated=float((named & ~ahead).mean()),
        uncertain_non_mated=float((false & ~false_ahead).mean()),
    )


def min_margin(searches: Searches, threshold: float, wanted: float) -> float:
    """The lowest margin, of four decimals, with which at most the wanted fraction of the mated
    searches is matched with another person."""
    wrong = (searches.rank > 1) & (searches.mated.first >= threshold)
    margins = np.sort(searches.mated.margin[wrong])[::-1]
    allowed = int(np.floor(wanted * len(wrong) + _ROUNDING))
    if len(margins) <= allowed:
        return 0.0
    # Two cosines are at most 2 apart; a gallery of one person has no second.
    return float(np.floor(min(margins[allowed], 2.0) * STEPS + 1) / STEPS)


def extrapolate(
    searches: Searches, persons: Sequence[int], options: IdentificationOptions
) -> list[Extrapolation]:
    """Thresholds for galleries of more persons. searches: of the largest gallery, whose suggested
    threshold is the least: its strangers are returned in a larger gallery, too."""
    least = suggestion(roc_of(searches.scores), options.fpir).threshold
    return [_extrapolated(searches, size, options.fpir, least) for size in persons]


def _extrapolated(
    searches: Searches, persons: int, wanted_fpir: float, least: float
) -> Extrapolation:
    wanted = float(-np.expm1(np.log1p(-wanted_fpir) / persons))
    allowed = int(np.floor(wanted * searches.comparisons + _ROUNDING))
    fits = searches.accepted <= allowed
    reached = bool(fits[-1])
    step = int(np.argmax(fits)) if reached else 2 * STEPS
    threshold = max(round(step / STEPS - 1, 4), least)
    fmr = searches.fmr(threshold)
    return Extrapolation(
        persons=persons,
        wanted_fpir=wanted_fpir,
        wanted_fmr=wanted,
        measurable=searches.comparisons * wanted >= 1 - _ROUNDING,
        reliable=searches.accepted_at(threshold) >= RULE_OF_30,
        reached=reached,
        threshold=threshold,
        fmr=fmr,
        fpir=1.0 if fmr >= 1 else float(-np.expm1(persons * np.log1p(-fmr))),
        fnir=rates_at(searches, threshold).fnir.value,
    )


def _suggestion(searches: Searches, roc: Roc, wanted_fpir: float) -> ThresholdSuggestion:
    found = suggestion(roc, wanted_fpir)
    return ThresholdSuggestion(
        wanted_fpir=wanted_fpir,
        measurable=found.measurable,
        reliable=found.reliable,
        reached=found.reached,
        rates=rates_at(searches, found.threshold),
    )


def _fnir_at_fpirs(roc: Roc, options: IdentificationOptions) -> list[FnirAtFpir]:
    figures = with_intervals(roc, _fnirs, rounds=options.bootstrap, seed=options.seed)
    return [_fnir_at_fpir(roc, wanted, fnir) for wanted, fnir in zip(FPIRS, figures, strict=True)]


def _fnirs(roc: Roc) -> DoubleArray:
    return np.asarray([1 - tar_at(roc, wanted) for wanted in FPIRS])


def _fnir_at_fpir(roc: Roc, wanted: float, fnir: Figure) -> FnirAtFpir:
    point = operating_point(roc, wanted)
    return FnirAtFpir(
        wanted_fpir=wanted,
        measurable=point.measurable,
        reliable=point.reliable,
        fnir=fnir if point.measurable else None,
        threshold=point.threshold if point.measurable else None,
    )
