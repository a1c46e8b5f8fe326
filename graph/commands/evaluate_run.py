"""`facegraph evaluate` behind its options: calls the graph for each photo and builds the report.

It is apart from evaluate.py, because it loads matplotlib, jinja2 and OpenCV. Each function enters
its argument `graph` after it has read the lists, as entering it may start a private graph.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import typer

from deployments.errors import InvalidConfig, InvalidRequest, ModelUnavailable
from graph.batch.folder import photos_by_person
from graph.client.client import FaceGraph
from graph.commands.terminal import err, photo_bar, print_table, require_served
from graph.evaluation.comparison import Pool
from graph.evaluation.datasets import read_pairs, read_template_pairs, read_templates
from graph.evaluation.detection_report import detection_report
from graph.evaluation.enrolment import Done, Enrolment, Failure, detect, enrol
from graph.evaluation.figures import EvaluationOptions, NothingToMeasure
from graph.evaluation.identification import (
    IdentificationOptions,
    measured_sizes,
    split_persons,
)
from graph.evaluation.identification_report import PersonDataset, identification_report
from graph.evaluation.profile import Setting, min_qualities_of, thresholds_of, with_values
from graph.evaluation.report import Code, Report, Table
from graph.evaluation.templates_report import photos_of, templates_report
from graph.evaluation.verification_report import PairDataset, verification_report
from graph.evaluation.wider import read_predictions, read_wider, write_predictions
from graph.schemas import ModelsResponse, ServedModel

Answer = TypeVar("Answer")
Graph = AbstractContextManager[FaceGraph]
_PRINTED_ROWS = 12


def verification(
    graph: Graph,
    pairs: Path,
    root: Path,
    options: EvaluationOptions,
    *,
    recognizers: Sequence[str],
    every: bool,
    worst: int,
    concurrency: int,
) -> Report:
    """Evaluate the verification of pairs of photos.

    recognizers, every: as in `pools_of`. concurrency: photos in flight at once.
    """
    listed = read_pairs(pairs)
    require_photos(root, listed.members)
    pools, enrolment = _enrolled(graph, root, listed.members, recognizers, every, concurrency)
    facts = [("Pairs", f"{pairs} ({listed.format})"), ("Photos", str(root))]
    return verification_report(PairDataset(listed, root, facts, worst), enrolment, pools, options)


def templates(
    graph: Graph,
    templates: Path,
    pairs: Path,
    root: Path,
    options: EvaluationOptions,
    *,
    recognizers: Sequence[str],
    every: bool,
    concurrency: int,
) -> Report:
    """Evaluate the verification of pairs of templates.

    recognizers, every: as in `pools_of`. concurrency: photos in flight at once.
    """
    known, listed = read_templates(templates), read_template_pairs(pairs)
    photos = photos_of(known, listed)
    require_photos(root, photos)
    pools, enrolment = _enrolled(graph, root, photos, recognizers, every, concurrency)
    facts = [("Templates", str(templates)), ("Pairs", str(pairs)), ("Photos", str(root))]
    return templates_report(known, listed, enrolment, pools, options, facts)


def identification(
    graph: Graph,
    folder: Path,
    options: IdentificationOptions,
    *,
    recognizers: Sequence[str],
    every: bool,
    concurrency: int,
) -> Report:
    """Evaluate open-set identification of the persons of a folder PERSON/PHOTO.jpg.

    recognizers, every: as in `pools_of`. concurrency: photos in flight at once.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder}: no folder", field="folder")
    photos, passed_over = photos_by_person(folder)
    split = split_persons(photos, options)
    _, beyond = measured_sizes(options.sizes, len(split.enrolled))
    if beyond:
        err.print(
            f"{len(split.enrolled)} persons can be enrolled: galleries of"
            f" {', '.join(map(str, beyond))} are extrapolated",
            markup=False,
        )
    pools, enrolment = _enrolled(graph, folder, split.photos, recognizers, every, concurrency)
    dataset = PersonDataset(split, passed_over, [("Persons", f"{folder} ({len(photos)})")])
    return identification_report(dataset, enrolment, pools, options)


def detection(
    graph: Graph,
    ground_truth: Path,
    images: Path,
    settings: Path | None,
    *,
    predictions: Path,
    concurrency: int,
) -> Report:
    """Evaluate the detector's boxes.

    They are also written to the folder `predictions`, for the official tools.
    """
    known = read_wider(ground_truth, settings)
    photos = list(known.faces)
    require_photos(images, photos)
    with graph as client:
        found, failures = _with_bar(
            "Detecting",
            len(photos),
            client,
            lambda done: detect(client, images, photos, concurrency=concurrency, done=done),
        )
    if not found:
        raise NothingToMeasure(f"no photo could be read: {_first(failures)}")
    write_predictions(predictions, found)
    facts = [("Ground truth", str(ground_truth)), ("Photos", str(images))]
    return detection_report(known, found, failures, facts)


def detection_from_files(predictions: Path, ground_truth: Path, settings: Path | None) -> Report:
    """Evaluate the boxes of any detector, read from files."""
    known = read_wider(ground_truth, settings)
    found = read_predictions(predictions, list(known.faces))
    facts = [("Ground truth", str(ground_truth)), ("Boxes", str(predictions))]
    return detection_report(known, found, (), facts)


def require_photos(root: Path, photos: Sequence[str]) -> None:
    """Raise InvalidRequest if none of the photos is there: the folder is the wrong one."""
    if not any((root / photo).exists() for photo in photos):
        raise InvalidRequest(
            f"none of the {len(photos)} photos is there, such as {root / photos[0]}", field="root"
        )


def copy_of(profile: Path, folder: Path) -> Path:
    """The path of the profile's copy; raises InvalidConfig if that is the profile itself."""
    copy = folder / profile.name
    if copy.exists() and copy.samefile(profile):
        raise InvalidConfig(f"{profile}: lies in {folder}, where its copy would go")
    return copy


def write_profile(report: Report, profile: Path, setting: Setting, folder: Path) -> Path:
    """Copy the profile into the folder, with the suggested values of the setting. Raises
    NotMeasurable, InvalidConfig."""
    copy = copy_of(profile, folder)
    if setting == "threshold":
        values = thresholds_of(report.suggestions)
    else:
        values = min_qualities_of(report.min_qualities)
    copy.write_text(with_values(profile.read_text(), setting, values))
    return copy


def print_tables(report: Report) -> None:
    for block in report.blocks:
        if isinstance(block, Table):
            _print_table(block)
        elif isinstance(block, Code):
            typer.echo(f"\n{block.title}:\n{block.code}")


def pools_of(models: ModelsResponse, recognizers: Sequence[str], *, every: bool) -> list[Pool]:
    """The pools to evaluate: every available one, or the named ones, or the graph's defaults.

    Raises UnknownRecognizer; ModelUnavailable for a named pool that is not available.
    """
    served = {
        model.pool: model for model in models.models if model.pool and model.stage == "recognizer"
    }
    names = list(recognizers) or models.default_recognizers
    if every:
        names = [name for name, model in served.items() if model.available]
        for name in sorted(set(served) - set(names)):
            err.print(f"{name} is left out: {served[name].unavailable_reason}", markup=False)
    require_served(names, served)
    return [_pool(name, served[name]) for name in names]


def _pool(name: str, model: ServedModel) -> Pool:
    if not model.available:
        raise ModelUnavailable(f"{name}: {model.unavailable_reason}")
    assert model.model is not None
    assert model.threshold is not None
    return Pool(
        name,
        model.model,
        model.threshold,
        model.embedding_size,
        model.licence,
        model.commercial_use,
    )


def _enrolled(
    graph: Graph,
    root: Path,
    photos: Sequence[str],
    recognizers: Sequence[str],
    every: bool,
    concurrency: int,
) -> tuple[list[Pool], Enrolment]:
    with graph as client:
        pools = pools_of(client.models(), recognizers, every=every)
        names = [pool.name for pool in pools]
        enrolment = _with_bar(
            "Embedding",
            len(photos),
            client,
            lambda done: enrol(client, root, photos, names, concurrency=concurrency, done=done),
        )
    if not enrolment.faces:
        raise NothingToMeasure(f"no photo gave a face: {_first(enrolment.failures)}")
    return pools, enrolment


def _first(failures: Sequence[Failure]) -> str:
    return f"{failures[0].photo}: {failures[0].message}"


def _with_bar(
    task: str,
    photos: int,
    client: FaceGraph,
    calls: Callable[[Done], Coroutine[Any, Any, Answer]],
) -> Answer:
    """Run the client's calls under a progress bar, then close the client in their event loop."""

    async def closing(done: Done) -> Answer:
        try:
            return await calls(done)
        finally:
            await client.close_async()

    with photo_bar(task, photos) as advance:
        return asyncio.run(closing(advance))


def _print_table(block: Table) -> None:
    numbers = () if block.text else block.columns[1:]
    rows = block.rows[:_PRINTED_ROWS]
    print_table(block.columns, rows, title=block.title, caption=block.note, numbers=numbers)
    if len(block.rows) > _PRINTED_ROWS:
        typer.echo(f"and {len(block.rows) - _PRINTED_ROWS} more, in the report")
