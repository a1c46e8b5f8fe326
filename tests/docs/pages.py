"""The pages of the documentation and their blocks of code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.profiles import ROOT

PAGES = tuple(
    path.relative_to(ROOT)
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
)
RUN = ("sh", "python")
NOT_CODE = ("text", "json", "yaml", "nginx", "diff", "mermaid")

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n\n?)?"
    r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `not_run` is the reason in the mark before it."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: Path) -> str:
    return (ROOT / page).read_text()


def prose_of(page: Path) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", text_of(page))


def blocks_of(page: Path) -> Iterator[Block]:
    text = text_of(page)
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page, line, found["language"], found["text"], found["reason"])


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in RUN and not block.not_run]
