"""`facegraph evaluate`: a report of the graph's accuracy on the user's photos."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from configs.extras import install_command
from deployments.errors import InvalidConfig, InvalidRequest
from graph.commands.terminal import (
    DEFAULT_FILE,
    ApiKey,
    AsJson,
    ConfigOption,
    RecognizerNames,
    Url,
    err,
    open_graph,
    print_json,
    writable_folder,
)
from graph.evaluation.figures import EvaluationOptions, FailurePolicy
from graph.evaluation.identification import IdentificationOptions

if TYPE_CHECKING:
    from graph.evaluation.profile import Setting
    from graph.evaluation.report import Report


def _option(name: str) -> str:
    """Accepts `--recognizers a,b`, the old spelling of `--recognizer a --recognizer b`; and so for
    `--size`."""
    return {"recognizers": "recognizer", "sizes": "size"}.get(name, name)


def _whole_numbers(texts: list[str] | None) -> list[str] | None:
    """`10,100` and `1000` -> 10, 100 and 1000; None stays None."""
    return None if texts is None else [part for text in texts for part in text.split(",")]


evaluate_app = typer.Typer(
    no_args_is_help=True,
    context_settings={"token_normalize_func": _option},
    help="Measure accuracy on your own photos. Each command writes report.html,"
    " figures.json and PNGs.",
)

_EXTRA = ("matplotlib", "jinja2")
_DEFAULTS, _IDENTIFICATION = EvaluationOptions(), IdentificationOptions()
_CONCURRENCY, _WORST = 16, 8
Facts = list[tuple[str, str]]

Out = Annotated[Path, typer.Option(callback=writable_folder, help="Folder for the report.")]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder that the photos' paths start from; left out, the list's folder."),
]
Every = Annotated[bool, typer.Option("--all", help="All recognizers that are available.")]
Far = Annotated[float, typer.Option(help="False accept rate (FAR) to suggest settings for.")]
Failures = Annotated[
    FailurePolicy,
    typer.Option(
        help="Pairs with a failure to enrol (no face): `mismatch`, they are rejected at every"
        " threshold; `exclude`, they do not count."
    ),
]
Bootstrap = Annotated[
    int, typer.Option(help="Bootstrap resamples for 95% confidence intervals; 0 for none.")
]
Seed = Annotated[int, typer.Option(help="Seed of the resamples, and of folds that are drawn.")]
Profile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Serve config to copy into the folder with the suggested thresholds.",
    ),
]
QualityProfile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Serve config to copy into the folder with each suggested min_quality, in place of"
        " --write-threshold.",
    ),
]
Note = Annotated[str, typer.Option(help="A sentence on the data, shown under the title.")]
Concurrency = Annotated[int, typer.Option(min=1, max=1024, help="Photos in flight at once.")]


@evaluate_app.command()
def verification(
    pairs: Annotated[Path, typer.Argument(help="CSV with columns a, b, same; LFW's pairs.txt.")],
    root: Root = None,
    out: Out = Path("evaluation"),
    recognizers: RecognizerNames = None,
    every: Every = False,
    far: Far = _DEFAULTS.far,
    failures: Failures = _DEFAULTS.failures,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Pairs per contact sheet.")] = _WORST,
    write_threshold: Profile = None,
    write_min_quality: QualityProfile = None,
    bootstrap: Bootstrap = _DEFAULTS.bootstrap,
    seed: Seed = _DEFAULTS.seed,
    note: Note = "",
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    concurrency: Concurrency = _CONCURRENCY,
    as_json: AsJson = False,
) -> None:
    """Verification of pairs: ROC, EER, accuracy by folds, worst pairs, errors by quality, settings.

    Examples:

    ```sh
    facegraph evaluate verification pairs.csv --all --out report
    facegraph evaluate verification pairs.csv --write-threshold serve_config.yaml
    ```
    """
    with _errors_in_words():
        from graph.commands import evaluate_run as run

        if write_threshold and write_min_quality:
            raise InvalidRequest(
                "--write-threshold, --write-min-quality: either reaches the FAR alone; give one"
            )
        profile = write_threshold or write_min_quality
        if profile:
            run.copy_of(profile, out)
        report = run.verification(
            open_graph(url, api_key=api_key, file=file, recognizers=recognizers or ()),
            pairs,
            root or pairs.parent,
            EvaluationOptions(far=far, failures=failures, bootstrap=bootstrap, seed=seed),
            recognizers=recognizers or (),
            every=every,
            worst=worst,
            concurrency=concurrency,
        )
        facts = _graph_facts(url, file)
        setting: Setting = "min_quality" if write_min_quality else "threshold"
        _finish(report, out, as_json, note=note, facts=facts, profile=profile, setting=setting)


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
    """Verification of templates, several photos of one person each, as in IJB-C's 1:1 protocol.

    IJB-C's own lists can be read, too.

    Examples:

    ```sh
    facegraph evaluate templates templates.csv pairs.csv --root photos
    ```
    """
    with _errors_in_words():
        from graph.commands import evaluate_run as run

        if write_threshold:
            run.copy_of(write_threshold, out)
        report = run.templates(
            open_graph(url, api_key=api_key, file=file, recognizers=recognizers or ()),
            templates,
            pairs,
            root or templates.parent,
            EvaluationOptions(far=far, failures=failures, bootstrap=bootstrap, seed=seed),
            recognizers=recognizers or (),
            every=every,
            concurrency=concurrency,
        )
        facts = _graph_facts(url, file)
        _finish(report, out, as_json, note=note, facts=facts, profile=write_threshold)


@evaluate_app.command()
def identification(
    folder: Annotated[
        Path, typer.Argument(help="A folder with a folder of photos for each person.")
    ],
    size: Annotated[
        list[str] | None,
        typer.Option(
            callback=_whole_numbers,
            help="Persons in the gallery; several, separated by commas. Left out, all that are"
            " enrolled.",
        ),
    ] = None,
    out: Out = Path("evaluation"),
    recognizers: RecognizerNames = None,
    every: Every = False,
    fpir: Annotated[
        float,
        typer.Option(
            help="False positive identification rate (FPIR) to suggest a threshold for: searches of"
            " strangers that return a person."
        ),
    ] = _IDENTIFICATION.fpir,
    non_mated: Annotated[
        float, typer.Option(help="Fraction of the persons that is not enrolled.")
    ] = _IDENTIFICATION.non_mated,
    enrolled_photos: Annotated[
        int, typer.Option(help="Most photos of a person that are enrolled; the rest are searched.")
    ] = _IDENTIFICATION.enrolled_photos,
    failures: Annotated[
        FailurePolicy,
        typer.Option(
            help="Searches without a face, or of a person without an enrolled face: `mismatch`,"
            " they find nobody; `exclude`, they do not count."
        ),
    ] = _IDENTIFICATION.failures,
    bootstrap: Bootstrap = _IDENTIFICATION.bootstrap,
    seed: Annotated[
        int, typer.Option(help="Seed of the split and of the resamples.")
    ] = _IDENTIFICATION.seed,
    note: Note = "",
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    concurrency: Concurrency = _CONCURRENCY,
    as_json: AsJson = False,
) -> None:
    """Open-set identification, 1:N, in galleries of several sizes; suggests their thresholds.

    Some persons are enrolled and searched with their other photos, the others are strangers. Sizes
    above the number of enrolled persons are extrapolated.

    Examples:

    <!-- not run: needs photos of many persons -->
    ```sh
    facegraph evaluate identification people
    facegraph evaluate identification people --size 100,1000,10000 --fpir 0.001
    ```
    """
    with _errors_in_words():
        from graph.commands import evaluate_run as run

        options = IdentificationOptions.model_validate(
            {
                "sizes": size or (),
                "fpir": fpir,
                "non_mated": non_mated,
                "enrolled_photos": enrolled_photos,
                "failures": failures,
                "bootstrap": bootstrap,
                "seed": seed,
            }
        )
        report = run.identification(
            open_graph(url, api_key=api_key, file=file, recognizers=recognizers or ()),
            folder,
            options,
            recognizers=recognizers or (),
            every=every,
            concurrency=concurrency,
        )
        _finish(report, out, as_json, note=note, facts=_graph_facts(url, file))


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
        Path | None, typer.Option(help="Boxes in files event/name.txt, in place of a graph's.")
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

    <!-- not run: needs WIDER FACE -->
    ```sh
    facegraph evaluate detection wider_face_val_bbx_gt.txt WIDER_val/images
    facegraph evaluate detection wider_face_val.mat WIDER_val/images --predictions boxes
    ```
    """
    with _errors_in_words():
        from graph.commands import evaluate_run as run

        if predictions:
            report = run.detection_from_files(predictions, ground_truth, settings)
        else:
            report = run.detection(
                open_graph(url, api_key=api_key, file=file),
                ground_truth,
                images,
                settings,
                predictions=out / "predictions",
                concurrency=concurrency,
            )
        facts = [] if predictions else _graph_facts(url, file)
        _finish(report, out, as_json, note=note, facts=facts)


@contextmanager
def _errors_in_words() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise InvalidConfig(
            f"evaluate needs {error.name}: {install_command('evaluation')}"
        ) from error
    except ValidationError as error:
        problems = (f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise InvalidRequest("\n".join(problems)) from error


def _graph_facts(url: str | None, file: Path) -> Facts:
    return [("Graph", url or f"a private one of {file}"), ("FaceGraph", version("facegraph"))]


def _finish(
    report: "Report",
    folder: Path,
    as_json: bool,
    *,
    note: str,
    facts: Facts,
    profile: Path | None = None,
    setting: "Setting" = "threshold",
) -> None:
    """Write the report and the profile's copy, print the figures and the paths."""
    from graph.commands.evaluate_run import print_tables, write_profile
    from graph.evaluation.report import FIGURES, write

    facts = [*report.facts, *facts, ("Date", date.today().isoformat())]
    report = replace(report, note=note, facts=facts)
    page = write(report, folder)
    copy = write_profile(report, profile, setting, folder) if profile else None
    if as_json:
        print_json(json.loads((folder / FIGURES).read_text()))
    else:
        print_tables(report)
    err.print(f"Report: {page}", markup=False)
    if copy:
        err.print(f"Profile with each {setting}: {copy}", markup=False)
