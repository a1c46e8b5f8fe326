"""An evaluation report: a self-contained HTML page, its plots as PNG, its figures as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader

from graph.evaluation.enrolment import Failure
from graph.evaluation.figures import Suggestion
from graph.evaluation.plots import Plot
from graph.evaluation.quality import QualitySuggestion

PAGE, FIGURES = "report.html", "figures.json"


@dataclass(frozen=True, slots=True)
class Card:
    """A headline number, with a label above it and a detail below."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Cards:
    kind: ClassVar[str] = "cards"
    title: str
    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names the row. text: the other columns are text, not numbers."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class Plots:
    kind: ClassVar[str] = "plots"
    title: str
    plots: Sequence[Plot]


@dataclass(frozen=True, slots=True)
class SheetPair:
    """A pair on a contact sheet. first, second: data URLs of face chips (aligned crops)."""

    score: str
    first: str
    second: str
    first_name: str
    second_name: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet: the face chips of several pairs. plot: the same pairs as a PNG."""

    kind: ClassVar[str] = "sheet"
    title: str
    pairs: Sequence[SheetPair]
    plot: Plot
    note: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    kind: ClassVar[str] = "code"
    title: str
    code: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    kind: ClassVar[str] = "notes"
    title: str
    paragraphs: Sequence[str]


# A section of the page; its `kind` selects the markup in report.html.
Block = Cards | Table | Plots | Sheet | Code | Notes


@dataclass(frozen=True, slots=True)
class Report:
    """A report's content.

    facts: data, graph and date, shown under the title. suggestions: by recognizer pool. figures:
    all measurements, JSON-ready. note: the user's sentence on the data. min_qualities: by
    recognizer pool, None for one without qualities.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    blocks: Sequence[Block]
    suggestions: Mapping[str, Suggestion]
    figures: Mapping[str, Any]
    note: str = ""
    min_qualities: Mapping[str, QualitySuggestion | None] = field(default_factory=dict)

    @property
    def plots(self) -> list[Plot]:
        drawn = [plot for block in self.blocks if isinstance(block, Plots) for plot in block.plots]
        return drawn + [block.plot for block in self.blocks if isinstance(block, Sheet)]


def failure_table(title: str, failures: Sequence[Failure], note: str = "") -> list[Block]:
    """The table of the photos that failed; an empty list if none did."""
    if not failures:
        return []
    rows = [(failure.photo, failure.code, failure.message) for failure in failures]
    return [Table(title, ("Photo", "Code", "Reason"), rows, note, text=True)]


def failures_json(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [
        {"photo": failure.photo, "code": failure.code, "message": failure.message}
        for failure in failures
    ]


def html(report: Report) -> str:
    environment = Environment(
        loader=PackageLoader("graph.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(PAGE).render(report=report)


def write(report: Report, folder: Path) -> Path:
    """Write the page, the PNGs and the JSON into the folder; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in report.plots:
        (folder / f"{plot.name}.png").write_bytes(plot.png)
    content = {
        "title": report.title,
        "facts": dict(report.facts),
        "note": report.note,
        **report.figures,
    }
    (folder / FIGURES).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    page = folder / PAGE
    page.write_text(html(report))
    return page
