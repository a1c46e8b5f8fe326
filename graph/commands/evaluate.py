"""`facegraph evaluate`: accuracy on one's own photos, as a report with pictures."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from deployments.errors import InvalidConfig, InvalidRequest
from graph.commands.terminal import (
    DEFAULT_FILE,
    ApiKey,
    AsJson,
    ConfigOption,
    RecognizerNames,
    Url,
    err,
    print_json,
)
from graph.evaluation.figures import EvaluationOptions, FailurePolicy

if TYPE_CHECKING:
    from graph.evaluation.report import Report


def _option(name: str) -> str:
    """`--recognizers a,b` is the old spelling of `--recognizer a --recognizer b`."""
    return "recognizer" if name == "recognizers" else name


evaluate_app = typer.Typer(
    no_args_is_help=True,
    context_settings={"token_normalize_func": _option},
    help="Measure accuracy on your own photos. Each writes report.html, figures.json and PNGs.",
)

_EXTRA = ("matplotlib", "jinja2")
_DEFAULTS = EvaluationOptions()
_CONCURRENCY, _WORST = 16, 8

Out = Annotated[Path, typer.Option(help="Folder for the report.")]
Root = Annotated[
    Path | None, typer.Option(help="Folder that the photos' paths start from; the list's own.")
]
Every = Annotated[bool, typer.Option("--all", help="Every recognizer that is available.")]
Far = Annotated[float, typer.Option(help="FAR to suggest a threshold for.")]
Failures = Annotated[
    FailurePolicy,
    typer.Option(
        help="Pairs with a photo that gave no face: `mismatch`, they count as called two people;"
        " `exclude`, they do not count."
    ),
]
Bootstrap = Annotated[int, typer.Option(help="Resamples for the 95% intervals; 0 for none.")]
Seed = Annotated[int, typer.Option(help="Of the resamples, and of folds that are drawn.")]
Profile = Annotated[
    Path | None,
    typer.Option(help="Serve config to copy into the folder, with the thresholds suggested."),
]
Note = Annotated[str, typer.Option(help="A sentence on the data, shown under the title.")]
Concurrency = Annotated[int, typer.Option(min=1, max=1024, help="Photos on their way at once.")]


@evaluate_app.command()
def verification(
    pairs: Annotated[Path, typer.Argument(help="CSV with columns a, b, same; LFW's pairs.txt.")],
    root: Root = None,
    out: Out = Path("evaluation"),
    recognizers: RecognizerNames = None,
    every: Every = False,
    far: Far = _DEFAULTS.far,
    failures: Failures = _DEFAULTS.failures,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Pairs on a contact sheet.")] = _WORST,
    write_threshold: Profile = None,
    bootstrap: Bootstrap = _DEFAULTS.bootstrap,
    seed: Seed = _DEFAULTS.seed,
    note: Note = "",
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    concurrency: Concurrency = _CONCURRENCY,
    as_json: AsJson = False,
) -> None:
    """Pairs of photos: ROC, TAR at FAR, EER, accuracy by folds, the worst pairs, a threshold.

    Examples:

    ```sh
    facegraph evaluate verification pairs.csv --out report
    facegraph evaluate verification pairs.csv --all --write-threshold serve_config.yaml
    ```
    """
    with _faults_in_words():
        from graph.commands import evaluate_run as run

        report = run.verification(
            run.Source(url, api_key, file, concurrency),
            pairs,
            root or pairs.parent,
            run.Chosen(recognizers or (), every),
            EvaluationOptions(far=far, failures=failures, bootstrap=bootstrap, seed=seed),
            worst=worst,
        )
        _finish(replace(report, note=note), out, as_json, write_threshold)


@evaluate_app.command()
def templates(
    templates: Annotated[Path, typer.Argument(help="CSV with columns photo, template, medium.")],
    pairs: Annotated[Path, typer.Argument(help="CSV with template_a, template_b, same.")],
    root: Root = None,
    out: Out = Path("evaluation"),
    recognizers: RecognizerNames = None,
    every: Every = False,
    far: Far = _DEFAULTS.far,
    failures: Failures = _DEFAULTS.failures,
    write_threshold: Profile = None,
    bootstrap: Bootstrap = _DEFAULTS.bootstrap,
    seed: Seed = _DEFAULTS.seed,
    note: Note = "",
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    concurrency: Concurrency = _CONCURRENCY,
    as_json: AsJson = False,
) -> None:
    """Sets of photos of one person, as in IJB-C's 1:1 protocol; takes its own lists too.

    Examples:

    ```sh
    facegraph evaluate templates templates.csv pairs.csv --root photos
    ```
    """
    with _faults_in_words():
        from graph.commands import evaluate_run as run

        report = run.templates(
            run.Source(url, api_key, file, concurrency),
            (templates, pairs),
            root or templates.parent,
            run.Chosen(recognizers or (), every),
            EvaluationOptions(far=far, failures=failures, bootstrap=bootstrap, seed=seed),
        )
        _finish(replace(report, note=note), out, as_json, write_threshold)


@evaluate_app.command()
def detection(
    ground_truth: Annotated[
        Path, typer.Argument(help="wider_face_val_bbx_gt.txt or wider_face_val.mat.")
    ],
    images: Annotated[Path, typer.Argument(help="Folder with a folder of photos per event.")],
    settings: Annotated[
        Path | None, typer.Option(help="Folder of wider_easy_val.mat, _medium_ and _hard_.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Boxes found before, as event/name.txt; asks no graph.")
    ] = None,
    out: Out = Path("evaluation"),
    note: Note = "",
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    concurrency: Concurrency = _CONCURRENCY,
    as_json: AsJson = False,
) -> None:
    """Average precision of the detector by WIDER FACE's protocol.

    Examples:

    ```sh
    facegraph evaluate detection wider_face_val_bbx_gt.txt WIDER_val/images
    facegraph evaluate detection wider_face_val.mat WIDER_val/images --predictions boxes
    ```
    """
    with _faults_in_words():
        from graph.commands import evaluate_run as run

        if predictions:
            report = run.detection_of(predictions, ground_truth, settings)
        else:
            source = run.Source(url, api_key, file, concurrency)
            report = run.detection(source, ground_truth, images, settings, out / "predictions")
        _finish(replace(report, note=note), out, as_json)


@contextmanager
def _faults_in_words() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise InvalidConfig(
            f"{error.name} is missing: pip install 'facegraph[evaluation]'"
        ) from error
    except ValidationError as error:
        faults = (f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise InvalidRequest("\n".join(faults)) from error


def _finish(report: "Report", folder: Path, as_json: bool, profile: Path | None = None) -> None:
    """Writes the report and says where, shows its tables, and writes the profile's copy."""
    from graph.commands.evaluate_run import print_tables, write_profile
    from graph.evaluation.report import FIGURES, write

    page = write(report, folder)
    copy = write_profile(report, profile, folder) if profile else None
    if as_json:
        print_json(json.loads((folder / FIGURES).read_text()))
    else:
        print_tables(report)
    err.print(f"Report: {page}", markup=False)
    if copy:
        err.print(f"Profile with the thresholds: {copy}", markup=False)
