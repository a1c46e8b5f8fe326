"""Plots of a report, each as PNG and as SVG in the colours of the page."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deployments.contracts import ByteArray, DoubleArray
from graph.evaluation.detection import PrecisionRecall
from graph.evaluation.discard import DiscardCurve
from graph.evaluation.figures import VerificationFigures
from graph.evaluation.identification_figures import Det
from graph.evaluation.quality import QualityFigures
from graph.evaluation.verification import RULE_OF_30, PairScores

# Colours of the light page. A CSS variable replaces each in SVG: the dark page has other colours.
INK, LINE, SHADE = "#1c2128", "#d5dbe2", "#eef1f4"
GENUINE, IMPOSTOR = "#0d7a6b", "#bf4f0a"
SERIES = ("#2461c7", "#bd4f0b", "#0c7b6c", "#8b3fc1", "#b3326b", "#7b5d1f")
VARIABLES = {
    INK: "--ink", LINE: "--line", SHADE: "--shade", GENUINE: "--genuine", IMPOSTOR: "--impostor",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
}
_DASHES = ("-", "--", ":")
_BINS = np.linspace(-1, 1, 101)
_PNG_DPI = 140
_SHEET_DPI = 100  # about one dot per pixel of a face chip
_DOTTED = (0, (2, 2))
# Fraction of pairs discarded above which the few pairs left make the error rates noise.
_MOST_DISCARDED = 0.95


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot. name: the PNG file's, without suffix. svg: an <svg> element, empty for contact
    sheets."""

    name: str
    title: str
    note: str
    png: bytes
    svg: str


def roc_plot(figures: Mapping[str, VerificationFigures], wanted_far: float) -> Plot:
    """ROC: TAR over FAR, one line per recognizer."""
    impostors = max(entry.impostor_pairs for entry in figures.values())
    left = min(0.5 / impostors, 0.7 * wanted_far)
    with _figure(5.6, 3.7) as (figure, axes):
        axes.axvspan(left, RULE_OF_30 / impostors, color=SHADE, lw=0)
        for index, (name, entry) in enumerate(figures.items()):
            far = np.maximum(entry.roc.far, left)
            axes.plot(far, entry.roc.tar, label=name, drawstyle="steps-post", **_line(index))
        axes.axvline(wanted_far, color=INK, lw=1, ls=_DOTTED)
        axes.set_xscale("log")
        axes.set_xlim(left, 1)
        axes.set_ylim(*_from_lowest([np.asarray(entry.roc.tar) for entry in figures.values()]))
        axes.set_xlabel("False accept rate (FAR)")
        axes.set_ylabel("True accept rate (TAR)")
        _legend(axes)
    note = (
        f"Dotted: the wanted FAR, {wanted_far:g}. Shaded: fewer than {RULE_OF_30} impostor pairs"
        " are accepted, too few errors for a reliable FAR."
    )
    return _plot(figure, "roc", "ROC", note)


def histogram_plot(name: str, pairs: PairScores, threshold: float) -> Plot:
    """Histograms of genuine and of impostor cosines, each as fractions of its number of pairs."""
    compared = pairs.compared()
    with _figure(5.6, 3.0) as (figure, axes):
        for scores, label, colour in (
            (compared.impostor, "impostor", IMPOSTOR),
            (compared.genuine, "genuine", GENUINE),
        ):
            parts, _ = np.histogram(scores, _BINS)
            heights = parts / max(len(scores), 1)
            axes.stairs(heights, _BINS, fill=True, color=colour, alpha=0.3)
            axes.stairs(heights, _BINS, color=colour, lw=1.4, label=f"{label} ({len(scores)})")
        axes.axvline(threshold, color=INK, lw=1, ls=_DOTTED)
        axes.set_xlim(*_spread(compared.scores))
        axes.set_xlabel("Cosine similarity")
        axes.set_ylabel("Fraction of the pairs")
        _legend(axes)
    note = f"Dotted: the suggested threshold, {threshold:.4f}."
    return _plot(figure, f"scores-{name}", f"Scores of {name}", note)


def error_plot(figures: Mapping[str, VerificationFigures]) -> Plot:
    """FAR and FRR over the threshold."""
    with _figure(5.6, 3.7) as (figure, axes):
        least = 0.5 / max(max(e.impostor_pairs, e.genuine_pairs) for e in figures.values())
        for index, (name, entry) in enumerate(figures.items()):
            thresholds = entry.errors.threshold
            colour = SERIES[index % len(SERIES)]
            far = np.maximum(entry.errors.far, least)
            frr = np.maximum(entry.errors.missed, least)
            axes.plot(thresholds, far, color=colour, ls="-", lw=1.6, label=f"{name}: FAR")
            axes.plot(thresholds, frr, color=colour, ls="--", lw=1.6, label=f"{name}: FRR")
        axes.set_yscale("log")
        axes.set_ylim(least, 1.1)
        axes.set_xlim(*_undecided(figures))
        axes.set_xlabel("Threshold (cosine)")
        axes.set_ylabel("Error rate")
        _legend(axes)
    note = "A line at the lower edge means no error among these pairs."
    return _plot(figure, "errors", "Error rates over the threshold", note)


def det_plot(curves: Mapping[str, Det], wanted_fpir: float, searches: int) -> Plot:
    """DET: FNIR over FPIR, one line per label. searches: non-mated ones."""
    left = min(0.5 / searches, 0.7 * wanted_fpir)
    rates = np.concatenate([curve.fnir for curve in curves.values()])
    least = 0.5 * float(rates[rates > 0].min(initial=1.0))
    with _figure(5.6, 3.9) as (figure, axes):
        axes.axvspan(left, RULE_OF_30 / searches, color=SHADE, lw=0)
        for index, (label, curve) in enumerate(curves.items()):
            fpir, fnir = np.maximum(curve.fpir, left), np.maximum(curve.fnir, least)
            axes.plot(fpir, fnir, label=label, drawstyle="steps-post", **_line(index))
        axes.axvline(wanted_fpir, color=INK, lw=1, ls=_DOTTED)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(left, 1)
        axes.set_ylim(least, 1.1)
        axes.set_xlabel("False positive identification rate (FPIR)")
        axes.set_ylabel("False negative identification rate (FNIR)")
        _legend(axes)
    note = (
        f"Dotted: the wanted FPIR, {wanted_fpir:g}. Shaded: fewer than {RULE_OF_30} non-mated"
        " searches return a person. A line at the lower edge means no miss."
    )
    return _plot(figure, "det", "DET", note)


def discard_plot(curves: Mapping[str, DiscardCurve]) -> Plot:
    """Error-versus-discard characteristic by uncertainty: error rates of the remaining pairs."""
    with _figure(5.6, 3.7) as (figure, axes):
        for index, (name, curve) in enumerate(curves.items()):
            colour = SERIES[index % len(SERIES)]
            rates = {f"{name}: error": curve.error, f"{name}: FRR": curve.frr}
            _discard_lines(axes, curve.discarded, rates, colour)
            axes.axhline(curve.error[0], color=colour, lw=1, ls=_DOTTED)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Fraction discarded, most uncertain pairs first")
        _legend(axes)
    note = (
        "Dotted: the error if uncertainty carried no information. Decisions are made at the"
        " suggested threshold."
    )
    return _plot(figure, "rejection", "Error versus discard by uncertainty", note)


def quality_plot(figures: Mapping[str, QualityFigures], wanted_far: float) -> Plot:
    """Error-versus-discard characteristic by quality: FAR and FRR of the remaining pairs."""
    curves = [entry.curve for entry in figures.values()]
    rates = np.concatenate([rates for curve in curves for rates in (curve.far, curve.frr)])
    least = 0.5 * float(rates[rates > 0].min(initial=wanted_far))
    with _figure(5.6, 3.7) as (figure, axes):
        for index, (name, entry) in enumerate(figures.items()):
            curve, colour = entry.curve, SERIES[index % len(SERIES)]
            lines = {f"{name}: FAR": curve.far, f"{name}: FRR": curve.frr}
            shown = {label: np.maximum(rates, least) for label, rates in lines.items()}
            _discard_lines(axes, curve.discarded, shown, colour)
        axes.axhline(wanted_far, color=INK, lw=1, ls=_DOTTED)
        axes.set_yscale("log")
        axes.set_ylim(least, 1.1)
        axes.set_xlabel("Fraction discarded, pairs of the lowest quality first")
        _legend(axes)
    note = (
        f"Dotted: the wanted FAR, {wanted_far:g}. A line at the lower edge means no error among the"
        " pairs that are left. Decisions are made at the threshold in force."
    )
    return _plot(figure, "rejection-quality", "Error versus discard by quality", note)


def precision_plot(curves: Mapping[str, PrecisionRecall]) -> Plot:
    """Precision over recall, one line per setting."""
    with _figure(5.6, 3.9) as (figure, axes):
        for index, (name, curve) in enumerate(curves.items()):
            shown = curve.recall > 0
            label = f"{name}: AP {curve.average_precision:.3f}"
            axes.plot(curve.recall[shown], curve.precision[shown], label=label, **_line(index))
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("Recall")
        axes.set_ylabel("Precision")
        _legend(axes)
    return _plot(figure, "precision-recall", "Precision and recall", "")


def sheet_plot(name: str, title: str, rows: Sequence[tuple[ByteArray, ByteArray, str]]) -> Plot:
    """Contact sheet of pairs of face chips uint8 [112,112,3] BGR, each with a text below."""
    columns = 4
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(2.3 * columns, 1.55 * height + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(height, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (first, second, text) in zip(grid.flat, rows, strict=False):
        axes.imshow(np.concatenate([first, second], axis=1)[..., ::-1])
        axes.set_title(text, fontsize=9, y=-0.22)
    return Plot(name, title, "", _png(figure, _SHEET_DPI), "")


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _plot(figure: Figure, name: str, title: str, note: str) -> Plot:
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        return Plot(name, title, note, _png(figure), _svg(figure, title))


def _png(figure: Figure, dpi: int = _PNG_DPI) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dpi)
    return written.getvalue()


def _svg(figure: Figure, title: str) -> str:
    """The <svg> element alone, with CSS variables for colours."""
    figure.patch.set_visible(False)
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def _discard_lines(
    axes: Axes, discarded: DoubleArray, rates: Mapping[str, DoubleArray], colour: str
) -> None:
    """Rates of the remaining pairs, by label, over the fraction discarded."""
    shown = discarded <= _MOST_DISCARDED
    for (label, values), dashes in zip(rates.items(), _DASHES, strict=False):
        axes.plot(discarded[shown], values[shown], color=colour, ls=dashes, lw=1.6, label=label)
    axes.set_xlim(0, _MOST_DISCARDED)
    axes.set_ylabel("Error rate of the rest")


def _legend(axes: Axes) -> None:
    """Place the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, fontsize=9)


def _line(index: int) -> dict[str, Any]:
    """Colour and dashes of the n-th line; dashes keep overlapping lines apart."""
    dashes = _DASHES[index % len(_DASHES)]
    return {"color": SERIES[index % len(SERIES)], "ls": dashes, "lw": 1.8}


def _undecided(figures: Mapping[str, VerificationFigures]) -> tuple[float, float]:
    """The range of thresholds at which the lowest FAR and the lowest FRR are both below 0.9."""
    threshold = np.asarray(next(iter(figures.values())).errors.threshold)
    far = np.min([entry.errors.far for entry in figures.values()], axis=0)
    frr = np.min([entry.errors.missed for entry in figures.values()], axis=0)
    shown = threshold[(far < 0.9) & (frr < 0.9)]
    return (float(shown[0]), float(shown[-1])) if len(shown) > 1 else (-1.0, 1.0)


def _from_lowest(rates: Sequence[DoubleArray]) -> tuple[float, float]:
    """Limits of an axis of rates near 1: from slightly below the lowest rate above 0."""
    lowest = min(float(values[values > 0].min(initial=1.0)) for values in rates)
    return max(0.0, lowest - 0.1 * (1 - lowest) - 0.01), 1.005


def _spread(scores: DoubleArray) -> tuple[float, float]:
    if not len(scores):
        return -1.0, 1.0
    return max(-1.0, float(scores.min()) - 0.06), min(1.0, float(scores.max()) + 0.06)
