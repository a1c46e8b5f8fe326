"""Comparison of recognizers on the same pairs: their figures, and the report's blocks of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.discard import DiscardCurve, error_versus_discard
from graph.evaluation.figures import (
    EvaluationOptions,
    Figure,
    Suggestion,
    TarAtFar,
    VerificationFigures,
    counted_pairs,
    verification_figures,
)
from graph.evaluation.plots import discard_plot, error_plot, histogram_plot, roc_plot
from graph.evaluation.profile import yaml_lines
from graph.evaluation.quality import QualityFigures, quality_figures
from graph.evaluation.report import Block, Card, Code, Notes, Plots, Table
from graph.evaluation.verification import RULE_OF_30, BoolArray, IntArray, PairScores

_DEFINITIONS = (
    "Scores are cosine similarities of embeddings; each photo stands for its largest face. A pair"
    " is accepted (decided to show one person) if its score is at least the threshold.",
    "FAR: fraction of the impostor pairs (two people) that is accepted. TAR: fraction of the"
    " genuine pairs (one person) that is accepted. FRR: 1 - TAR. EER: the error rate at FAR = FRR."
    " AUC: the probability that a genuine pair outscores an impostor pair.",
    "Accuracy: each fold is evaluated at the threshold that was best on the other folds, as in"
    " LFW's View 2. d': the difference of the mean scores in standard deviations, of compared"
    " pairs.",
    "Confidence intervals assume independent pairs. If photos are in several pairs, they are too"
    " narrow.",
)
_FAILURE_POLICIES = {
    "mismatch": "A pair with a failure to enrol (no face) is rejected at every threshold: falsely"
    " if it is genuine, correctly if it is impostor.",
    "exclude": "Pairs with a failure to enrol (no face) are left out of every figure.",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """A recognizer pool of the graph.

    model: its id; threshold: the configured one. embedding_size, licence and commercial_use: the
    model's; None if the graph does not tell them.
    """

    name: str
    model: str
    threshold: float
    embedding_size: int | None = None
    licence: str | None = None
    commercial_use: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "embedding_size": self.embedding_size,
            "licence": self.licence,
            "commercial_use": self.commercial_use,
            "threshold_in_force": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class EvaluatedRecognizer:
    """One recognizer's scores and figures.

    counted: the pairs that count under the failure policy. discard: None for a recognizer that
    gives no uncertainty, and if no pair could be compared. quality: None if no genuine or no
    impostor pair has two faces of known quality.
    """

    pool: Pool
    pairs: PairScores
    counted: PairScores
    figures: VerificationFigures
    discard: DiscardCurve | None
    quality: QualityFigures | None

    @property
    def suggested_threshold(self) -> float:
        return self.figures.suggestion.threshold

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """FAR and TAR at the threshold, of the pairs that count."""
        far = (self.counted.impostor >= threshold).mean()
        return float(far), float((self.counted.genuine >= threshold).mean())

    def as_json(self) -> dict[str, Any]:
        return {
            **self.pool.as_json(),
            **self.figures.model_dump(mode="json"),
            "rejection": self.discard.as_json() if self.discard else None,
            "rejection_by_quality": self.quality.as_json() if self.quality else None,
        }


def evaluate(
    pool: Pool,
    pairs: PairScores,
    folds: IntArray | None,
    uncertainty: DoubleArray | None,
    options: EvaluationOptions,
    quality: DoubleArray | None = None,
) -> EvaluatedRecognizer:
    """Evaluate one recognizer.

    folds: int64 [P], or None to draw them at random. uncertainty: float64 [P], or None for a
    recognizer that gives none. quality: float64 [P], NaN where it is unknown, or None if no pair
    has one. Raises NothingToMeasure.
    """
    figures = verification_figures(pairs, folds, options)
    counted = counted_pairs(pairs, options)
    compared: BoolArray = np.isfinite(pairs.scores)
    discard = None
    if uncertainty is not None and compared.any():
        threshold = figures.suggestion.threshold
        discard = error_versus_discard(pairs.select(compared), -uncertainty[compared], threshold)
    by_quality = None
    if quality is not None:
        by_quality = quality_figures(pairs, quality, pool.threshold, options.far)
    return EvaluatedRecognizer(pool, pairs, counted, figures, discard, by_quality)


def recognizer_cards(evaluated: Sequence[EvaluatedRecognizer]) -> list[Card]:
    return [_card(entry) for entry in evaluated]


def suggestions(evaluated: Sequence[EvaluatedRecognizer]) -> dict[str, Suggestion]:
    return {entry.pool.name: entry.figures.suggestion for entry in evaluated}


def figure_blocks(
    evaluated: Sequence[EvaluatedRecognizer], options: EvaluationOptions
) -> list[Block]:
    """The report's tables and plots of the recognizers."""
    figures = {entry.pool.name: entry.figures for entry in evaluated}
    curves = {entry.pool.name: entry.discard for entry in evaluated if entry.discard}
    plots = [roc_plot(figures, options.far), error_plot(figures)]
    plots += [
        histogram_plot(entry.pool.name, entry.pairs, entry.suggested_threshold)
        for entry in evaluated
    ]
    if curves:
        plots.append(discard_plot(curves))
    return [
        _figures_table(evaluated, options),
        _far_table(evaluated),
        Plots("Plots", plots),
        _threshold_table(evaluated, options.far),
        _profile_lines(evaluated),
        models_table([entry.pool for entry in evaluated]),
    ]


def models_table(pools: Sequence[Pool]) -> Table:
    """What the compared pools are, and what their weights may be used for."""
    rows = [
        (
            pool.name,
            pool.model,
            str(pool.embedding_size or "?"),
            {True: "yes", False: "no", None: "?"}[pool.commercial_use],
            pool.licence or "?",
        )
        for pool in pools
    ]
    columns = ("Recognizer", "Model", "Numbers", "Commercial use", "Licence of the weights")
    return Table("Models", columns, rows, text=True)


def definitions(options: EvaluationOptions, *more: str) -> Notes:
    """The definitions of the figures and of the failure policy; more: paragraphs in between."""
    return Notes("Definitions", [*_DEFINITIONS, *more, _FAILURE_POLICIES[options.failures]])


def far_text(far: float) -> str:
    """The FAR in the form 1e-3."""
    return np.format_float_scientific(far, trim="-", exp_digits=1)


def percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}%"


def _card(entry: EvaluatedRecognizer) -> Card:
    figures = entry.figures
    suggestion = figures.suggestion
    label, far = f"{entry.pool.name} · {entry.pool.model}", far_text(suggestion.wanted_far)
    eer = f"EER {percent(figures.eer.value)}"
    accuracy = f"accuracy {percent(figures.accuracy.mean)}, " if figures.accuracy else ""
    if suggestion.measurable and suggestion.reached:
        return Card(label, percent(suggestion.tar), f"TAR at FAR {far}; {accuracy}{eer}")
    lacking = "needs more impostor pairs" if suggestion.reached else "is not reached"
    detail = f"AUC; {accuracy}{eer}; FAR {far} {lacking}"
    return Card(label, f"{figures.auc.value:.4f}", detail)


def _figures_table(evaluated: Sequence[EvaluatedRecognizer], options: EvaluationOptions) -> Table:
    folds = next((e.figures.accuracy for e in evaluated if e.figures.accuracy), None)
    note = (
        f"Below a figure: its 95% bootstrap confidence interval ({options.bootstrap} resamples)."
        if options.bootstrap
        else ""
    )
    if options.bootstrap and evaluated[0].figures.auc.low is None:
        note = "No confidence intervals: too many pairs for this many resamples (--bootstrap)."
    if folds:
        drawn = "drawn at random" if folds.drawn else "from the list"
        note += f" Accuracy: mean and standard error over {folds.folds} folds ({drawn})."
    return Table(
        "Side by side",
        ("Recognizer", "Accuracy", "AUC", "EER", "d'"),
        [_figures_row(entry) for entry in evaluated],
        note.strip(),
    )


def _figures_row(entry: EvaluatedRecognizer) -> tuple[str, ...]:
    figures = entry.figures
    accuracy = figures.accuracy
    return (
        entry.pool.name,
        f"{percent(accuracy.mean)} ± {percent(accuracy.standard_error)}" if accuracy else "-",
        with_interval(figures.auc, lambda value: f"{value:.5f}"),
        with_interval(figures.eer, percent),
        f"{figures.d_prime:.2f}" if figures.d_prime is not None else "-",
    )


def _far_table(evaluated: Sequence[EvaluatedRecognizer]) -> Table:
    each = (entry.figures.tar_at_far for entry in evaluated)
    rows = [
        (far_text(cells[0].wanted_far), *map(_tar_cell, cells)) for cells in zip(*each, strict=True)
    ]
    note = (
        "TAR at FAR: the highest TAR whose FAR is at most the given one. A FAR is measurable from"
        f" 1/FAR impostor pairs on; * marks a figure with fewer than {RULE_OF_30} accepted impostor"
        " pairs."
    )
    return Table(
        "TAR at FAR",
        ("FAR", *(entry.pool.name for entry in evaluated)),
        rows,
        note,
    )


def _tar_cell(cell: TarAtFar) -> str:
    if cell.tar is None:
        return "not measurable"
    return with_interval(cell.tar, percent, "" if cell.reliable else " *")


def _threshold_table(evaluated: Sequence[EvaluatedRecognizer], far: float) -> Table:
    rows = []
    for entry in evaluated:
        now_far, now_tar = entry.rates_at(entry.pool.threshold)
        suggestion = entry.figures.suggestion
        rows.append(
            (
                entry.pool.name,
                f"{entry.pool.threshold:.4f}",
                percent(now_far, 3),
                percent(now_tar),
                f"{suggestion.threshold:.4f}" + _caution(entry),
                percent(suggestion.far, 3),
                percent(suggestion.tar),
            )
        )
    columns = ("Recognizer", "In force", "FAR", "TAR", f"For FAR {far_text(far)}", "FAR", "TAR")
    return Table("Thresholds", columns, rows, _threshold_note(evaluated, far))


def _caution(entry: EvaluatedRecognizer) -> str:
    suggestion = entry.figures.suggestion
    if not suggestion.reached:
        return " ‡"
    if not suggestion.measurable:
        return " †"
    return "" if suggestion.reliable else " *"


def _threshold_note(evaluated: Sequence[EvaluatedRecognizer], far: float) -> str:
    impostors = len(evaluated[0].counted.impostor)
    text = "A suggested threshold is valid for similar photos, the same model and precision."
    cautions = {_caution(entry) for entry in evaluated}
    if " ‡" in cautions:
        text += (
            f" ‡ No threshold reaches a FAR of {far_text(far)}: impostor pairs have a cosine of 1."
            " Look for one photo under two names, and for wrong labels."
        )
    if " †" in cautions:
        text += (
            f" † A FAR of {far_text(far)} is not measurable with {impostors} impostor pairs: this"
            " is the lowest threshold that accepts none of them; the true FAR there is unknown."
        )
    if " *" in cautions:
        text += f" * Fewer than {RULE_OF_30} impostor pairs are accepted."
    return text


def _profile_lines(evaluated: Sequence[EvaluatedRecognizer]) -> Code:
    thresholds = {entry.pool.name: entry.suggested_threshold for entry in evaluated}
    return Code(
        "For the profile",
        yaml_lines(thresholds),
        "Lines for the application's args; --write-threshold writes them into a copy of a profile.",
    )


def with_interval(figure: Figure, shown: Callable[[float], str], mark: str = "") -> str:
    """The figure with the mark, and its confidence interval on the next line."""
    if figure.low is None or figure.high is None:
        return shown(figure.value) + mark
    return f"{shown(figure.value)}{mark}\n{shown(figure.low)} - {shown(figure.high)}"
