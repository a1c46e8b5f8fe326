"""What `facegraph evaluate` does: asks a graph about every photo, then writes the report."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from deployments.errors import InvalidConfig, ModelUnavailable, UnknownRecognizer
from graph.client.client import FaceGraph
from graph.commands.terminal import err, open_graph
from graph.evaluation.comparison import Pool
from graph.evaluation.datasets import read_pairs, read_template_pairs, read_templates
from graph.evaluation.detection_report import detection_report
from graph.evaluation.enrolment import Done, Enrolment, detect, enrol
from graph.evaluation.figures import EvaluationOptions
from graph.evaluation.profile import thresholds_of, with_thresholds
from graph.evaluation.report import Code, Report, Table
from graph.evaluation.templates_report import photos_of, templates_report
from graph.evaluation.verification_report import Subject, verification_report
from graph.evaluation.wider import read_predictions, read_wider, write_predictions
from graph.schemas import ModelsResponse, ServedModel

Answer = TypeVar("Answer")
# Lines that go to a file or another program are not folded.
_WIDTH_OF_A_PIPE = 200
_PRINTED_ROWS = 12
Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """The graph to ask: the server at `url`, else a private one of the profile `file`.

    concurrency: photos that are on their way at once.
    """

    url: str | None
    api_key: str | None
    file: Path
    concurrency: int

    @property
    def described(self) -> str:
        return self.url or f"a private one of {self.file}"


@dataclass(frozen=True)
class Chosen:
    """The recognizers to evaluate: those named, or all that are available; none named: the graph's
    own choice."""

    names: Sequence[str] = ()
    every: bool = False


def verification(
    source: Source,
    pairs: Path,
    root: Path,
    chosen: Chosen,
    options: EvaluationOptions,
    *,
    worst: int,
) -> Report:
    listed = read_pairs(pairs)
    pools, enrolment = _enrolled(source, root, listed.members, chosen)
    facts = _facts(source, Pairs=f"{pairs} ({listed.format})", Photos=str(root))
    return verification_report(Subject(listed, root, facts, worst), enrolment, pools, options)


def templates(
    source: Source,
    lists: tuple[Path, Path],
    root: Path,
    chosen: Chosen,
    options: EvaluationOptions,
) -> Report:
    """lists: of the templates, and of the pairs."""
    known, pairs = read_templates(lists[0]), read_template_pairs(lists[1])
    pools, enrolment = _enrolled(source, root, photos_of(known, pairs), chosen)
    facts = _facts(source, Templates=str(lists[0]), Pairs=str(lists[1]), Photos=str(root))
    return templates_report(known, pairs, enrolment, pools, options, facts)


def detection(
    source: Source, ground_truth: Path, images: Path, lists: Path | None, predictions: Path
) -> Report:
    """What was found is written to `predictions` too, as the official tools read it."""
    known = read_wider(ground_truth, lists)
    photos = list(known.faces)
    with _asking(source, "Detecting", len(photos)) as (graph, done, run):
        asked = detect(graph, images, photos, concurrency=source.concurrency, done=done)
        found, failures = run(asked)
    write_predictions(predictions, found)
    facts = _facts(source, **{"Ground truth": str(ground_truth), "Photos": str(images)})
    return detection_report(known, found, failures, facts)


def detection_of(predictions: Path, ground_truth: Path, lists: Path | None) -> Report:
    """Of boxes that were found before, by whatever detector."""
    known = read_wider(ground_truth, lists)
    found = read_predictions(predictions, list(known.faces))
    facts = [
        ("Ground truth", str(ground_truth)), ("Boxes", str(predictions)), ("Date", _today()),
    ]  # fmt: skip
    return detection_report(known, found, (), facts)


def write_profile(report: Report, profile: Path, folder: Path) -> Path:
    """A copy of the profile in `folder`, with the report's thresholds. Raises NotMeasurable,
    InvalidConfig."""
    copy = folder / profile.name
    if copy.exists() and copy.samefile(profile):
        raise InvalidConfig(f"{profile}: lies in {folder}, where its copy would go")
    text = with_thresholds(profile.read_text(), thresholds_of(report.suggestions))
    copy.write_text(text)
    return copy


def print_tables(report: Report) -> None:
    for block in report.blocks:
        if isinstance(block, Table | Code):
            _print(block)


def pools_of(models: ModelsResponse, chosen: Chosen) -> list[Pool]:
    """Raises UnknownRecognizer; ModelUnavailable for one that is named and cannot answer."""
    served = {model.pool: model for model in models.models if model.pool}
    names = list(chosen.names) or models.default_recognizers
    if chosen.every:
        names = [name for name, model in served.items() if model.available]
        for name in sorted(set(served) - set(names)):
            err.print(f"{name} is left out: {served[name].unavailable_reason}", markup=False)
    return [_pool(name, served) for name in names]


def _pool(name: str, served: dict[str, ServedModel]) -> Pool:
    model = served.get(name)
    if model is None:
        raise UnknownRecognizer(f"no recognizer {name!r}; there are {', '.join(served)}")
    if not model.available:
        raise ModelUnavailable(f"{name}: {model.unavailable_reason}")
    assert model.model is not None
    assert model.threshold is not None
    return Pool(name, model.model, model.threshold)


def _enrolled(
    source: Source, root: Path, photos: Sequence[str], chosen: Chosen
) -> tuple[list[Pool], Enrolment]:
    with _asking(source, "Embedding", len(photos)) as (graph, done, run):
        pools = pools_of(graph.models(), chosen)
        names = [pool.name for pool in pools]
        asked = enrol(graph, root, photos, names, concurrency=source.concurrency, done=done)
        return pools, run(asked)


def _print(block: Table | Code) -> None:
    out = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE, highlight=False)
    if isinstance(block, Code):
        out.print(f"\n{block.title}:\n{block.code}", markup=False)
        return
    table = RichTable(title=block.title, title_justify="left", caption=block.note or None)
    table.caption_justify = "left"
    for index, column in enumerate(block.columns):
        table.add_column(column, justify="right" if index and not block.text else "left")
    for row in block.rows[:_PRINTED_ROWS]:
        table.add_row(*map(Text, row))
    out.print(table)
    if len(block.rows) > _PRINTED_ROWS:
        out.print(f"and {len(block.rows) - _PRINTED_ROWS} more, in the report")


Run = Callable[[Coroutine[Any, Any, Answer]], Answer]


@contextmanager
def _asking(source: Source, what: str, total: int) -> Iterator[tuple[FaceGraph, Done, Run[Any]]]:
    """A graph, what to call after each photo, and what runs the asking with its bar."""
    with open_graph(source.url, api_key=source.api_key, file=source.file) as graph:
        progress = _progress()
        task = progress.add_task(what, total=total)

        def run(asked: Coroutine[Any, Any, Answer]) -> Answer:
            async def closing() -> Answer:
                try:
                    return await asked
                finally:
                    await graph.close_async()

            with progress:
                return asyncio.run(closing())

        yield graph, lambda: progress.advance(task), run


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f}/s")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed())
    return Progress(*columns, TimeRemainingColumn(), console=err, disable=not sys.stderr.isatty())


def _facts(source: Source, **lists: str) -> Facts:
    return [
        *lists.items(),
        ("Graph", source.described),
        ("FaceGraph", version("facegraph")),
        ("Date", _today()),
    ]


def _today() -> str:
    return date.today().isoformat()
