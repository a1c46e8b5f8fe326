"""Verification figures of one recognizer, with confidence intervals, as the report gives them."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from configs.base import Config
from deployments.contracts import DoubleArray
from deployments.errors import InvalidRequest
from graph.evaluation.folds import drawn_folds, fold_accuracy
from graph.evaluation.verification import (
    IntArray,
    PairScores,
    Roc,
    auc,
    d_prime,
    equal_error_rate,
    operating_point,
    roc_of,
    roc_of_counts,
    tar_at,
)

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
CONFIDENCE = 0.95
# Treatment of pairs with a failure to enrol: rejected at every threshold, or left out.
FailurePolicy = Literal["mismatch", "exclude"]

_CURVE_POINTS = 400
# Thresholds at which both error rates are given.
_GRID = np.round(np.linspace(-1, 1, 401), 3)
# Limit of resamples x distinct scores: above it, intervals take minutes and are left out.
_MOST_DRAWS = 200_000_000


class EvaluationOptions(Config):
    """Options of an evaluation's arithmetic."""

    far: float = Field(
        default=1e-3, gt=0, lt=1, description="Wanted FAR, for which a threshold is suggested."
    )
    failures: FailurePolicy = Field(
        default="mismatch",
        description="Pairs with a photo that failed to enrol (no face): mismatch, they are rejected"
        " at every threshold; exclude, they do not count.",
    )
    bootstrap: int = Field(
        default=500,
        ge=0,
        le=100_000,
        description="Bootstrap resamples for the confidence intervals; 0 computes none.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the resamples, and of folds that are drawn."
    )


class Figure(Config):
    """A number with its 95% confidence interval, if one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


class TarAtFar(Config):
    """The highest TAR whose FAR is at most `wanted_far`."""

    wanted_far: float
    measurable: bool = Field(description="There are at least 1 / wanted_far impostor pairs.")
    reliable: bool = Field(description="At least 30 impostor pairs are accepted there.")
    tar: Figure | None = Field(description="null if it is not measurable.")
    threshold: float | None
    far: float | None = Field(description="FAR as observed at the threshold.")
    impostors_accepted: int | None


class Accuracy(Config):
    """Mean accuracy over folds, each at the threshold that was best on the others."""

    mean: float
    standard_error: float
    folds: int
    thresholds: list[float]
    drawn: bool = Field(description="The folds were drawn at random; the list has none.")


class Suggestion(Config):
    """A threshold for the wanted FAR, rounded up to four decimals, with FAR and TAR observed
    there."""

    wanted_far: float
    measurable: bool
    reliable: bool
    reached: bool = Field(
        description="false if even the threshold 1 accepts too many impostor pairs: their cosines"
        " are 1."
    )
    threshold: float
    far: float
    tar: float


class Curve(Config):
    """Points of the ROC, thinned to the resolution of a plot."""

    far: list[float]
    tar: list[float]
    threshold: list[float]


class ErrorRates(Config):
    """FAR and FRR at each threshold. missed: the FRR, 1 - TAR."""

    threshold: list[float]
    far: list[float]
    missed: list[float]


class VerificationFigures(Config):
    """All verification figures of one recognizer."""

    genuine_pairs: int
    impostor_pairs: int
    failed_genuine_pairs: int = Field(
        description="Genuine pairs with a photo that failed to enrol."
    )
    failed_impostor_pairs: int
    auc: Figure
    eer: Figure
    eer_threshold: float
    d_prime: float | None
    accuracy: Accuracy | None = Field(description="null with fewer than two pairs of a kind.")
    tar_at_far: list[TarAtFar]
    suggestion: Suggestion
    roc: Curve
    errors: ErrorRates


class NothingToMeasure(InvalidRequest):
    """No genuine or no impostor pair is left."""


def verification_figures(
    pairs: PairScores, folds: IntArray | None, options: EvaluationOptions
) -> VerificationFigures:
    """All figures of one recognizer. folds: int64 [P], or None to draw them at random.

    Raises NothingToMeasure.
    """
    failed = ~np.isfinite(pairs.scores)
    counted = counted_pairs(pairs, options)
    if folds is not None and options.failures == "exclude":
        folds = folds[~failed]
    if not len(counted.genuine) or not len(counted.impostor):
        raise NothingToMeasure("no genuine or no impostor pair of which both photos gave a face")
    roc = roc_of(counted)
    area, eer, *tars = with_intervals(
        roc, _interval_values, rounds=options.bootstrap, seed=options.seed
    )
    spread = d_prime(counted)
    return VerificationFigures(
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=len(pairs.impostor),
        failed_genuine_pairs=int((failed & pairs.same).sum()),
        failed_impostor_pairs=int((failed & ~pairs.same).sum()),
        auc=area,
        eer=eer,
        eer_threshold=equal_error_rate(roc)[1],
        d_prime=spread if np.isfinite(spread) else None,
        accuracy=_accuracy(counted, folds, options.seed),
        tar_at_far=[_tar_at_far(roc, far, tar) for far, tar in zip(FARS, tars, strict=True)],
        suggestion=suggestion(roc, options.far),
        roc=curve_of(roc),
        errors=_errors(counted),
    )


def counted_pairs(pairs: PairScores, options: EvaluationOptions) -> PairScores:
    """The pairs that count under the failure policy."""
    return pairs if options.failures == "mismatch" else pairs.compared()


def suggestion(roc: Roc, wanted_far: float) -> Suggestion:
    """The threshold to suggest for the wanted FAR, and the rates observed there."""
    point = operating_point(roc, wanted_far)
    threshold = float(np.clip(np.ceil(point.threshold * 1e4) / 1e4, -1, 1))
    accepted = int((roc.thresholds >= threshold).sum()) - 1
    return Suggestion(
        wanted_far=wanted_far,
        measurable=point.measurable,
        reliable=point.reliable,
        reached=int(roc.false_accepts[accepted]) <= point.errors,
        threshold=threshold,
        far=float(roc.far[accepted]),
        tar=float(roc.tar[accepted]),
    )


def bootstrap(
    roc: Roc, figures: Callable[[Roc], DoubleArray], *, rounds: int, seed: int
) -> tuple[DoubleArray, DoubleArray]:
    """95% bootstrap confidence intervals: the 2.5% and 97.5% quantiles of `figures` (float64 [F])
    over `rounds` resamples (Efron's percentile interval).

    Genuine and impostor pairs are resampled separately, with replacement, as many as there are of
    each. Pairs count as independent: if photos are in several pairs, the true interval is wider.
    A resample is a number of pairs at each distinct score. `scipy.stats.bootstrap` draws the pairs
    themselves, which every resample must sort again.
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


def with_intervals(
    roc: Roc, figures: Callable[[Roc], DoubleArray], *, rounds: int, seed: int
) -> list[Figure]:
    """`figures` of the ROC, float64 [F], with the intervals of `bootstrap`; without them for 0
    rounds, and if they would take minutes."""
    values = figures(roc).tolist()
    if not rounds or rounds * len(roc.thresholds) > _MOST_DRAWS:
        return [Figure(value=value) for value in values]
    low, high = bootstrap(roc, figures, rounds=rounds, seed=seed)
    return [
        Figure(value=value, low=bottom, high=top)
        for value, bottom, top in zip(values, low.tolist(), high.tolist(), strict=True)
    ]


def curve_of(roc: Roc) -> Curve:
    """The ROC's corners, about evenly spaced on a logarithmic FAR axis, both ends kept."""
    corners = np.flatnonzero(np.diff(roc.false_accepts, append=roc.impostors + 1))
    if len(corners) > _CURVE_POINTS:
        spread = np.geomspace(1, len(corners), _CURVE_POINTS).astype(np.int64) - 1
        corners = corners[np.unique(spread)]
    finite = np.clip(roc.thresholds[corners], -1, 1)
    return Curve(
        far=roc.far[corners].tolist(),
        tar=roc.tar[corners].tolist(),
        threshold=finite.tolist(),
    )


def _interval_values(roc: Roc) -> DoubleArray:
    """The figures that get an interval, float64 [2 + len(FARS)]: AUC, EER, TAR at each of FARS."""
    return np.asarray([auc(roc), equal_error_rate(roc)[0], *(tar_at(roc, far) for far in FARS)])


def _tar_at_far(roc: Roc, wanted_far: float, tar: Figure) -> TarAtFar:
    point = operating_point(roc, wanted_far)
    known = point.measurable
    return TarAtFar(
        wanted_far=wanted_far,
        measurable=known,
        reliable=point.reliable,
        tar=tar if known else None,
        threshold=point.threshold if known else None,
        far=point.far if known else None,
        impostors_accepted=point.errors if known else None,
    )


def _accuracy(pairs: PairScores, folds: IntArray | None, seed: int) -> Accuracy | None:
    chosen = drawn_folds(pairs, seed) if folds is None else folds
    if chosen is None or len(np.unique(chosen)) < 2:
        return None
    result = fold_accuracy(pairs, chosen)
    return Accuracy(
        mean=result.mean,
        standard_error=result.standard_error,
        folds=len(result.accuracies),
        thresholds=result.thresholds.tolist(),
        drawn=folds is None,
    )


def _errors(pairs: PairScores) -> ErrorRates:
    genuine, impostor = np.sort(pairs.genuine), np.sort(pairs.impostor)
    frr = np.searchsorted(genuine, _GRID) / len(genuine)
    far = 1 - np.searchsorted(impostor, _GRID) / len(impostor)
    return ErrorRates(threshold=_GRID.tolist(), far=far.tolist(), missed=frr.tolist())
