"""Several recognizers on the same pairs: their figures, side by side in tables and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.contracts import DoubleArray
from graph.evaluation.figures import (
    EvaluationOptions,
    Figure,
    Suggestion,
    TarAtFar,
    VerificationFigures,
    counted_pairs,
    verification_figures,
)
from graph.evaluation.plots import (
    error_plot,
    histogram_plot,
    rejection_plot,
    roc_plot,
)
from graph.evaluation.profile import yaml_lines
from graph.evaluation.rejection import RejectionCurve, error_versus_reject
from graph.evaluation.report import Block, Card, Code, Pictures, Table
from graph.evaluation.verification import RULE_OF_30, BoolArray, IntArray, PairScores

_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Pool:
    """A recognizer as the graph serves it. model: its catalogue id; threshold: in force now."""

    name: str
    model: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one recognizer made of the pairs.

    counted: those that count, as the failure policy has it. rejection: None where the recognizer
    gives no uncertainty.
    """

    pool: Pool
    pairs: PairScores
    counted: PairScores
    figures: VerificationFigures
    rejection: RejectionCurve | None

    @property
    def threshold(self) -> float:
        return self.figures.suggestion.threshold

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """FAR and TAR at a threshold, of the pairs that count."""
        far = (self.counted.impostor >= threshold).mean()
        return float(far), float((self.counted.genuine >= threshold).mean())

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.pool.model,
            "threshold_in_force": self.pool.threshold,
            **self.figures.model_dump(mode="json"),
            "rejection": _rejection_json(self.rejection),
        }


def evaluate(
    pool: Pool,
    pairs: PairScores,
    folds: IntArray | None,
    uncertainty: DoubleArray | None,
    options: EvaluationOptions,
) -> Evaluated:
    """uncertainty: float64 [P], one for each pair, or None. Raises NothingToMeasure."""
    figures = verification_figures(pairs, folds, options)
    counted = counted_pairs(pairs, options)
    rejection = None
    if uncertainty is not None:
        known: BoolArray = np.isfinite(pairs.scores)
        threshold = figures.suggestion.threshold
        rejection = error_versus_reject(pairs.select(known), uncertainty[known], threshold)
    return Evaluated(pool, pairs, counted, figures, rejection)


def recognizer_cards(evaluated: Sequence[Evaluated]) -> list[Card]:
    return [_card(entry) for entry in evaluated]


def suggestions(evaluated: Sequence[Evaluated]) -> dict[str, Suggestion]:
    return {entry.pool.name: entry.figures.suggestion for entry in evaluated}


def figure_blocks(evaluated: Sequence[Evaluated], options: EvaluationOptions) -> list[Block]:
    """Everything about the recognizers but the contact sheets."""
    figures = {entry.pool.name: entry.figures for entry in evaluated}
    curves = {entry.pool.name: entry.rejection for entry in evaluated if entry.rejection}
    pictures = [roc_plot(figures, options.far), error_plot(figures)]
    pictures += [
        histogram_plot(entry.pool.name, entry.pairs, entry.threshold) for entry in evaluated
    ]
    if curves:
        pictures.append(rejection_plot(curves))
    return [
        _figures_table(evaluated, options),
        _far_table(evaluated),
        Pictures("Pictures", pictures),
        _threshold_table(evaluated, options.far),
        _profile_lines(evaluated),
    ]


def far_text(far: float) -> str:
    """As 1e-3."""
    return np.format_float_scientific(far, trim="-", exp_digits=1)


def percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}%"


def _card(entry: Evaluated) -> Card:
    figures = entry.figures
    suggestion = figures.suggestion
    label, far = f"{entry.pool.name} · {entry.pool.model}", far_text(suggestion.wanted_far)
    eer = f"EER {percent(figures.eer.value)}"
    accuracy = f"accuracy {percent(figures.accuracy.mean)}, " if figures.accuracy else ""
    if suggestion.measurable:
        return Card(label, percent(suggestion.tar), f"TAR at FAR {far}; {accuracy}{eer}")
    detail = f"AUC; {accuracy}{eer}; FAR {far} takes more impostor pairs"
    return Card(label, f"{figures.auc.value:.4f}", detail)


def _figures_table(evaluated: Sequence[Evaluated], options: EvaluationOptions) -> Table:
    folds = next((e.figures.accuracy for e in evaluated if e.figures.accuracy), None)
    note = (
        f"Below a figure: its 95% interval, by {options.bootstrap} resamples of the pairs."
        if options.bootstrap
        else ""
    )
    if options.bootstrap and evaluated[0].figures.auc.low is None:
        note = "No intervals: too many pairs for so many resamples; --bootstrap takes fewer."
    if folds:
        drawn = "drawn at random" if folds.drawn else "the list's own"
        note += f" Accuracy: mean and standard error over {folds.folds} folds ({drawn})."
    return Table(
        "Side by side",
        ("Recognizer", "Accuracy", "AUC", "EER", "d'"),
        [_figures_row(entry) for entry in evaluated],
        note.strip(),
    )


def _figures_row(entry: Evaluated) -> tuple[str, ...]:
    figures = entry.figures
    accuracy = figures.accuracy
    return (
        entry.pool.name,
        f"{percent(accuracy.mean)} ± {percent(accuracy.standard_error)}" if accuracy else "-",
        _with_interval(figures.auc, lambda value: f"{value:.5f}"),
        _with_interval(figures.eer, percent),
        f"{figures.d_prime:.2f}" if figures.d_prime is not None else "-",
    )


def _far_table(evaluated: Sequence[Evaluated]) -> Table:
    fars = [entry.wanted_far for entry in evaluated[0].figures.tar_at_far]
    rows = [
        (entry.pool.name, *(_tar_cell(cell) for cell in entry.figures.tar_at_far))
        for entry in evaluated
    ]
    note = (
        "TAR at FAR: the most genuine pairs accepted while no larger part of the impostor pairs is."
        " A FAR needs at least 1/FAR impostor pairs to be measurable at all;"
        f" * marks one that rests on fewer than {RULE_OF_30} accepted impostor pairs."
    )
    return Table(
        "TAR at FAR",
        ("Recognizer", *(far_text(far) for far in fars)),
        rows,
        note,
    )


def _tar_cell(cell: TarAtFar) -> str:
    if cell.tar is None:
        return "not\nmeasurable"
    return _with_interval(cell.tar, percent, "" if cell.reliable else " *")


def _threshold_table(evaluated: Sequence[Evaluated], far: float) -> Table:
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
    columns = ("Recognizer", "Now", "FAR", "TAR", f"For FAR {far_text(far)}", "FAR", "TAR")
    return Table("Thresholds", columns, rows, _threshold_note(evaluated, far))


def _caution(entry: Evaluated) -> str:
    suggestion = entry.figures.suggestion
    if not suggestion.measurable:
        return " †"
    return "" if suggestion.reliable else " *"


def _threshold_note(evaluated: Sequence[Evaluated], far: float) -> str:
    impostors = evaluated[0].figures.impostor_pairs
    text = "A suggestion holds for photos like these, and for the model and precision it came from."
    if any(not entry.figures.suggestion.measurable for entry in evaluated):
        text += (
            f" † With {impostors} impostor pairs a FAR of {far_text(far)} cannot be measured: this"
            " is the lowest threshold that accepts none of them, and the true FAR there is unknown."
        )
    elif any(not entry.figures.suggestion.reliable for entry in evaluated):
        text += f" * Rests on fewer than {RULE_OF_30} accepted impostor pairs."
    return text


def _profile_lines(evaluated: Sequence[Evaluated]) -> Code:
    thresholds = {entry.pool.name: entry.threshold for entry in evaluated}
    return Code(
        "For the profile",
        yaml_lines(thresholds),
        "Under args of the application; --write-threshold writes them into a copy of a profile.",
    )


def _with_interval(figure: Figure, shown: Callable[[float], str], mark: str = "") -> str:
    """The figure, marked, and its interval below."""
    if figure.low is None or figure.high is None:
        return shown(figure.value) + mark
    return f"{shown(figure.value)}{mark}\n{shown(figure.low)} - {shown(figure.high)}"


def _rejection_json(curve: RejectionCurve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    shown = np.unique(np.linspace(0, len(curve.rejected) - 1, _CURVE_POINTS).astype(np.int64))
    return {
        "threshold": curve.threshold,
        "area": curve.area,
        "rejected": curve.rejected[shown].tolist(),
        "error": curve.error[shown].tolist(),
        "missed": _finite(curve.missed[shown]),
        "accepted": _finite(curve.accepted[shown]),
    }


def _finite(values: DoubleArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
