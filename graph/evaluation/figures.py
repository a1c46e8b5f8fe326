"""A recognizer's figures, as the JSON file and the report show them."""

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
# How pairs count of which a photo gave no face: as pairs called two people, or not at all.
FailurePolicy = Literal["mismatch", "exclude"]


class EvaluationOptions(Config):
    """What may be chosen about the arithmetic."""

    far: float = Field(
        default=1e-3, gt=0, lt=1, description="Wanted FAR, for which a threshold is suggested."
    )
    failures: FailurePolicy = Field(
        default="mismatch",
        description="Pairs with a photo that gave no face: mismatch, they count as called two"
        " people at every threshold; exclude, they do not count.",
    )
    bootstrap: int = Field(
        default=500, ge=0, le=100_000, description="Resamples for the intervals; 0 makes none."
    )
    seed: int = Field(default=0, ge=0, description="Of the resamples and of folds that are drawn.")


class Figure(Config):
    """A number with its 95% interval, where one was made."""

    value: float
    low: float | None = None
    high: float | None = None


class TarAtFar(Config):
    """The highest TAR whose FAR is at most `wanted_far`."""

    wanted_far: float
    measurable: bool = Field(description="There are at least 1 / wanted_far impostor pairs.")
    reliable: bool = Field(description="At least 30 impostor pairs are accepted there.")
    tar: Figure | None = Field(description="null where it is not measurable.")
    threshold: float | None
    far: float | None = Field(description="As observed at the threshold.")
    impostors_accepted: int | None


class Accuracy(Config):
    """Mean over folds, each at the threshold that was best on the others."""

    mean: float
    standard_error: float
    folds: int
    thresholds: list[float]
    drawn: bool = Field(description="The folds were drawn here; the list has none.")


class Suggestion(Config):
    """A threshold for the wanted FAR, rounded up to four decimals, and what it does here."""

    wanted_far: float
    measurable: bool
    reliable: bool
    threshold: float
    far: float
    tar: float


class Curve(Config):
    """ROC points, thinned to what a picture shows."""

    far: list[float]
    tar: list[float]
    threshold: list[float]


class ErrorRates(Config):
    """What each threshold does: far, and missed, which is 1 - TAR."""

    threshold: list[float]
    far: list[float]
    missed: list[float]


class VerificationFigures(Config):
    genuine_pairs: int
    impostor_pairs: int
    failed_genuine_pairs: int = Field(description="Of these, with a photo that gave no face.")
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
    """folds: int64 [P], or None to draw them. Raises NothingToMeasure."""
    failed = ~np.isfinite(pairs.scores)
    counted = counted_pairs(pairs, options)
    if folds is not None and options.failures == "exclude":
        folds = folds[~failed]
    if not len(counted.genuine) or not len(counted.impostor):
        raise NothingToMeasure("no genuine or no impostor pair of which both photos gave a face")
    roc = roc_of(counted)
    low, high = _intervals(roc, options)
    values = _figures(roc)
    figures = [
        Figure(value=value, low=bottom, high=top)
        for value, bottom, top in zip(values.tolist(), low, high, strict=True)
    ]
    spread = d_prime(counted)
    return VerificationFigures(
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=len(pairs.impostor),
        failed_genuine_pairs=int((failed & pairs.same).sum()),
        failed_impostor_pairs=int((failed & ~pairs.same).sum()),
        auc=figures[0],
        eer=figures[1],
        eer_threshold=equal_error_rate(roc)[1],
        d_prime=spread if np.isfinite(spread) else None,
        accuracy=_accuracy(counted, folds, options.seed),
        tar_at_far=[
            _tar_at_far(roc, far, figure) for far, figure in zip(FARS, figures[2:], strict=True)
        ],
        suggestion=suggestion(roc, options.far),
        roc=_curve(roc),
        errors=_errors(counted),
    )


def counted_pairs(pairs: PairScores, options: EvaluationOptions) -> PairScores:
    """The pairs that the failure policy lets count."""
    return pairs if options.failures == "mismatch" else pairs.compared()


def suggestion(roc: Roc, wanted_far: float) -> Suggestion:
    point = operating_point(roc, wanted_far)
    threshold = float(np.clip(np.ceil(point.threshold * 1e4) / 1e4, -1, 1))
    accepted = int((roc.thresholds >= threshold).sum()) - 1
    return Suggestion(
        wanted_far=wanted_far,
        measurable=point.measurable,
        reliable=point.reliable,
        threshold=threshold,
        far=float(roc.far[accepted]),
        tar=float(roc.tar[accepted]),
    )


def _figures(roc: Roc) -> DoubleArray:
    return np.asarray([auc(roc), equal_error_rate(roc)[0], *(tar_at(roc, far) for far in FARS)])


def _intervals(
    roc: Roc, options: EvaluationOptions
) -> tuple[list[float | None], list[float | None]]:
    if not options.bootstrap or options.bootstrap * len(roc.thresholds) > _MOST_DRAWS:
        nothing: list[float | None] = [None] * (2 + len(FARS))
        return nothing, nothing
    low, high = bootstrap(roc, _figures, rounds=options.bootstrap, seed=options.seed)
    return list(low.tolist()), list(high.tolist())


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


_CURVE_POINTS = 400
# Resamples x distinct scores, beyond which intervals take minutes: these are left out.
_MOST_DRAWS = 200_000_000
_GRID = np.round(np.linspace(-1, 1, 401), 3)


def _curve(roc: Roc) -> Curve:
    """Steps that a picture can show: evenly over the FAR's logarithm, both ends kept."""
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


def _errors(pairs: PairScores) -> ErrorRates:
    genuine, impostor = np.sort(pairs.genuine), np.sort(pairs.impostor)
    missed = np.searchsorted(genuine, _GRID) / len(genuine)
    far = 1 - np.searchsorted(impostor, _GRID) / len(impostor)
    return ErrorRates(threshold=_GRID.tolist(), far=far.tolist(), missed=missed.tolist())


CONFIDENCE = 0.95


def bootstrap(
    roc: Roc, figures: Callable[[Roc], DoubleArray], *, rounds: int, seed: int
) -> tuple[DoubleArray, DoubleArray]:
    """The 2.5% and 97.5% quantiles of `figures` (float64 [F]) over `rounds` resamples.

    Genuine and impostor pairs are drawn separately, with replacement, as many as there are of each
    (Efron's percentile interval). Pairs count as independent: where photos are in several pairs,
    the true interval is wider.
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
