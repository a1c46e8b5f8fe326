"""The report's blocks on quality: error versus discard, and the suggested `min_quality`."""

from collections.abc import Mapping, Sequence

from graph.evaluation.comparison import EvaluatedRecognizer, far_text, percent
from graph.evaluation.plots import quality_plot
from graph.evaluation.quality import RULE_OF_3, QualityFigures, QualitySuggestion
from graph.evaluation.report import Block, Notes, Plots, Table
from graph.evaluation.verification import RULE_OF_30

TITLE = "Quality"


def quality_blocks(evaluated: Sequence[EvaluatedRecognizer], far: float) -> list[Block]:
    """The plot and the table of the recognizers whose faces have a quality, and a sentence on each
    other one. far: the wanted FAR."""
    known = {entry.pool.name: entry.quality for entry in evaluated if entry.quality}
    unknown = [entry.pool.name for entry in evaluated if not entry.quality]
    blocks: list[Block] = []
    if known:
        plot = quality_plot(known, far)
        blocks += [Plots("Errors by quality", [plot]), _table(known, far)]
    if unknown:
        blocks.append(Notes(TITLE, [_unknown(name) for name in unknown]))
    return blocks


def min_qualities(
    evaluated: Sequence[EvaluatedRecognizer],
) -> dict[str, QualitySuggestion | None]:
    """The suggestions by pool; None for a pool whose faces have no quality."""
    return {
        entry.pool.name: entry.quality.suggestion if entry.quality else None for entry in evaluated
    }


def _unknown(name: str) -> str:
    return (
        f"No error-versus-discard curve by quality for {name}: no genuine or no impostor pair has"
        " two faces with a quality. A graph that measures none answers null."
    )


def _table(known: Mapping[str, QualityFigures], far: float) -> Table:
    columns = (
        "Recognizer", "FAR", "FRR", f"min_quality for FAR {far_text(far)}", "FAR",
        "FRR", "Genuine rejected", "Impostor pairs",
    )  # fmt: skip
    rows = [_row(name, figures) for name, figures in known.items()]
    return Table("Suggested min_quality", columns, rows, _note(known, far))


def _row(name: str, figures: QualityFigures) -> tuple[str, ...]:
    curve, suggestion = figures.curve, figures.suggestion
    return (
        name,
        percent(float(curve.far[0]), 3),
        percent(float(curve.frr[0])),
        f"{suggestion.min_quality:.4f}" + _caution(suggestion),
        percent(suggestion.far, 3),
        percent(suggestion.frr) if suggestion.frr is not None else "-",
        percent(suggestion.genuine_rejected),
        f"{suggestion.impostor_pairs:,}",
    )


def _caution(suggestion: QualitySuggestion) -> str:
    if not suggestion.reached:
        return " ‡"
    if not suggestion.measurable:
        return " †"
    return "" if suggestion.reliable else " *"


def _note(known: Mapping[str, QualityFigures], far: float) -> str:
    text = (
        "FAR and FRR at the threshold in force, first of all compared pairs, then of those that are"
        " left. Suggested is the lowest min_quality from which the pairs left have at most the"
        " wanted FAR; 0 if all have. A pair is left if both faces have at least that quality."
    )
    cautions = {_caution(figures.suggestion) for figures in known.values()}
    wanted = far_text(far)
    if " ‡" in cautions:
        text += f" ‡ No min_quality reaches a FAR of {wanted}: raise the threshold."
    if " †" in cautions:
        text += (
            f" † Too few impostor pairs are left: a FAR of {wanted} takes at least"
            f" {round(RULE_OF_3 / far):,}. With no false accept among N, the true FAR may be"
            " 3/N (rule of three, 95% confidence)."
        )
    if " *" in cautions:
        text += f" * Fewer than {RULE_OF_30} impostor pairs are accepted."
    return text
