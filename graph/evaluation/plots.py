"""Pictures of a report: drawn once, kept as PNG and as SVG that takes its page's colours."""

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
from graph.evaluation.figures import VerificationFigures
from graph.evaluation.rejection import RejectionCurve
from graph.evaluation.verification import RULE_OF_30, PairScores

# The light page's colours; in SVG each becomes the CSS variable, so that a dark page has its own.
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
_SHEET_DPI = 100  # about a dot for each pixel of a chip
_DOTTED = (0, (2, 2))
# Beyond, so few pairs are left that the errors are noise.
_MOST_REJECTED = 0.95


@dataclass(frozen=True, slots=True)
class Plot:
    """name: of the PNG file. svg: an <svg> element; empty for a picture of photographs."""

    name: str
    title: str
    note: str
    png: bytes
    svg: str


def roc_plot(figures: Mapping[str, VerificationFigures], wanted_far: float) -> Plot:
    """TAR over FAR, one line a recognizer."""
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
        " are accepted there, and a FAR rests on few errors."
    )
    return _plot(figure, "roc", "ROC", note)


def histogram_plot(name: str, pairs: PairScores, threshold: float) -> Plot:
    """How the cosines of both kinds of pairs lie, each kind as parts of its own number."""
    compared = pairs.compared()
    with _figure(5.6, 3.0) as (figure, axes):
        for scores, label, colour in (
            (compared.impostor, "two people", IMPOSTOR),
            (compared.genuine, "one person", GENUINE),
        ):
            parts, _ = np.histogram(scores, _BINS)
            heights = parts / max(len(scores), 1)
            axes.stairs(heights, _BINS, fill=True, color=colour, alpha=0.3)
            axes.stairs(heights, _BINS, color=colour, lw=1.4, label=f"{label} ({len(scores)})")
        axes.axvline(threshold, color=INK, lw=1, ls=_DOTTED)
        axes.set_xlim(*_spread(compared.scores))
        axes.set_xlabel("Cosine similarity")
        axes.set_ylabel("Part of the pairs")
        _legend(axes)
    note = f"Dotted: the threshold suggested, {threshold:.4f}."
    return _plot(figure, f"scores-{name}", f"Scores of {name}", note)


def error_plot(figures: Mapping[str, VerificationFigures]) -> Plot:
    """Both errors over the threshold: where to put it."""
    with _figure(5.6, 3.7) as (figure, axes):
        least = 0.5 / max(max(e.impostor_pairs, e.genuine_pairs) for e in figures.values())
        for index, (name, entry) in enumerate(figures.items()):
            thresholds = entry.errors.threshold
            colour = SERIES[index % len(SERIES)]
            far = np.maximum(entry.errors.far, least)
            missed = np.maximum(entry.errors.missed, least)
            axes.plot(thresholds, far, color=colour, ls="-", lw=1.6, label=f"{name}: FAR")
            axes.plot(thresholds, missed, color=colour, ls="--", lw=1.6, label=f"{name}: 1 - TAR")
        axes.set_yscale("log")
        axes.set_ylim(least, 1.1)
        axes.set_xlim(*_undecided(figures))
        axes.set_xlabel("Threshold (cosine)")
        axes.set_ylabel("Error rate")
        _legend(axes)
    note = "A line at the foot of the picture stands for no error among these pairs."
    return _plot(figure, "errors", "Error rates over the threshold", note)


def rejection_plot(curves: Mapping[str, RejectionCurve]) -> Plot:
    """Errors among the pairs that are left, once the most uncertain were left out."""
    with _figure(5.6, 3.7) as (figure, axes):
        for index, (name, curve) in enumerate(curves.items()):
            colour = SERIES[index % len(SERIES)]
            shown = curve.rejected <= _MOST_REJECTED
            lines = ((curve.error, "-", "wrong"), (curve.missed, "--", "genuine pairs rejected"))
            for values, dashes, label in lines:
                axes.plot(
                    curve.rejected[shown],
                    values[shown],
                    color=colour,
                    ls=dashes,
                    lw=1.6,
                    label=f"{name}: {label}",
                )
            axes.axhline(curve.error[0], color=colour, lw=1, ls=_DOTTED)
        axes.set_xlim(0, _MOST_REJECTED)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Pairs left out, most uncertain first")
        axes.set_ylabel("Error among the rest")
        _legend(axes)
    note = "Dotted: the error if uncertainty told nothing. The threshold is the suggested one."
    return _plot(figure, "rejection", "Error versus reject", note)


def precision_plot(curves: Mapping[str, PrecisionRecall]) -> Plot:
    """Precision over recall, one line a setting."""
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
    """Pairs of chips uint8 [112,112,3] BGR, each with a line of text below."""
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
    """The element alone, its colours as CSS variables."""
    figure.patch.set_visible(False)
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def _legend(axes: Axes) -> None:
    """Above the picture, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, fontsize=9)


def _line(index: int) -> dict[str, Any]:
    """Colour and dashes of the n-th line."""
    dashes = _DASHES[index % len(_DASHES)]  # lines that lie on each other are both seen
    return {"color": SERIES[index % len(SERIES)], "ls": dashes, "lw": 1.8}


def _undecided(figures: Mapping[str, VerificationFigures]) -> tuple[float, float]:
    """The thresholds between which any recognizer accepts some pairs and rejects some."""
    threshold = np.asarray(next(iter(figures.values())).errors.threshold)
    far = np.min([entry.errors.far for entry in figures.values()], axis=0)
    missed = np.min([entry.errors.missed for entry in figures.values()], axis=0)
    shown = threshold[(far < 0.9) & (missed < 0.9)]
    return (float(shown[0]), float(shown[-1])) if len(shown) > 1 else (-1.0, 1.0)


def _from_lowest(rates: Sequence[DoubleArray]) -> tuple[float, float]:
    """Limits for an axis of rates near 1: from somewhat below the lowest but the first, 0."""
    lowest = min(float(values[values > 0].min(initial=1.0)) for values in rates)
    return max(0.0, lowest - 0.1 * (1 - lowest) - 0.01), 1.005


def _spread(scores: DoubleArray) -> tuple[float, float]:
    if not len(scores):
        return -1.0, 1.0
    return max(-1.0, float(scores.min()) - 0.06), min(1.0, float(scores.max()) + 0.06)
