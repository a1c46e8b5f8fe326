"""A report: one HTML page that needs nothing from elsewhere, its pictures as PNG, its figures as
JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader

from graph.evaluation.figures import Suggestion
from graph.evaluation.plots import Plot

PAGE, FIGURES = "report.html", "figures.json"


@dataclass(frozen=True, slots=True)
class Card:
    """One number that says most, with what it is above and what to make of it below."""

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
    """The first column names its row; the others are numbers, or text where `text` says so."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    kind: ClassVar[str] = "pictures"
    title: str
    pictures: Sequence[Plot]


@dataclass(frozen=True, slots=True)
class SheetPair:
    """first, second: data URLs of chips."""

    score: str
    first: str
    second: str
    first_name: str
    second_name: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    kind: ClassVar[str] = "sheet"
    title: str
    pairs: Sequence[SheetPair]
    note: str = ""
    picture: Plot | None = None


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


Block = Cards | Table | Pictures | Sheet | Code | Notes


@dataclass(frozen=True, slots=True)
class Report:
    """facts: what was evaluated, on what, when; shown under the title. suggestions: by pool.
    figures: everything measured, JSON-ready. note: its user's own words on the data."""

    title: str
    facts: Sequence[tuple[str, str]]
    blocks: Sequence[Block]
    suggestions: Mapping[str, Suggestion]
    figures: Mapping[str, Any]
    note: str = ""

    @property
    def pictures(self) -> list[Plot]:
        drawn = [picture for block in self.blocks if isinstance(block, Pictures)
                 for picture in block.pictures]  # fmt: skip
        sheets = [block.picture for block in self.blocks if isinstance(block, Sheet)]
        return drawn + [picture for picture in sheets if picture is not None]


def html(report: Report) -> str:
    environment = Environment(
        loader=PackageLoader("graph.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(PAGE).render(report=report)


def write(report: Report, folder: Path) -> Path:
    """Writes the page, the PNGs and the JSON into the folder; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in report.pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
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
