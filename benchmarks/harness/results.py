"""A benchmark's figures: a printed table, a JSON file that is kept in git, and a picture."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")  # writes files; needs no display

from matplotlib import pyplot
from rich.console import Console
from rich.table import Table

from graph.cluster.cpu import processor_name

RESULTS = Path(__file__).parents[1] / "results"


def machine() -> str:
    """The machine's kind, such as `AMD EPYC, 2 cores, 24 GB`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor_name()}, {os.cpu_count()} cores, {memory:.0f} GB"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ours/theirs over pairs that were measured next to each other."""
    return median(own / other for own, other in zip(ours, theirs, strict=True))


def report(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    draw: Callable[[Any], None],
    raw: object = None,
) -> None:
    """Print the table; write `results/<name>.json` with every figure and `results/<name>.png`.

    `draw` gets the axes of the picture. `raw` holds the measurements behind the rows.
    """
    RESULTS.mkdir(exist_ok=True)
    heading = f"{title}; {machine()}; {date.today()}"
    table = Table(*columns, title=heading, title_justify="left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=160).print(table)
    content = {"title": title, "machine": machine(), "date": str(date.today())}
    tables = {"columns": columns, "rows": rows, "raw": raw}
    (RESULTS / f"{name}.json").write_text(json.dumps(content | tables, indent=1) + "\n")
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    draw(axes)
    axes.set_title(heading, fontsize=9)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=120)
    pyplot.close(figure)


def draw_bars(axes: Any, bars: Sequence[tuple[str, float]], unit: str) -> None:
    """Horizontal bars, the first one on top; names may repeat."""
    places = range(len(bars))
    axes.barh(places, [value for _, value in bars])
    axes.set_yticks(places, [name for name, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
