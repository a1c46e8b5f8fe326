"""`facegraph embed`: writes the faces of a folder of photos to one Parquet file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.contracts import FaceChoice
from deployments.errors import InvalidConfig, InvalidRequest, UnknownRecognizer
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    RecognizerNames,
    photo_bar,
    print_error,
    print_json,
)

if TYPE_CHECKING:  # the extra `embed` brings them
    import pyarrow as pa

    from graph.batch.embedders import Work
    from graph.batch.parts import FaceParts

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def embed(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Searched for photos at any depth.")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The Parquet file to write.")],
    recognizers: RecognizerNames = None,
    faces: Annotated[
        FaceChoice, typer.Option(help="Every face of a photo, or only its largest.")
    ] = "all",
    again: Annotated[
        bool, typer.Option("--again", help="Replace the file if it is there.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster, such as `auto`, to work on instead of this machine alone; its"
            " nodes see the folder under the same path."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of Ray Data actors; left out, as many as there are free cores for."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="FACEGRAPH_URL",
            help="A running server that does the work; left out, the models run on Ray Data.",
        ),
    ] = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Embed every face of every photo in a folder, a row of the file for each face.

    After an interruption the same command continues after the photos that are done. Photos that
    cannot be read are listed at the end, do not stop the rest, and are tried again the next time.

    Exit code: 0 done, 1 done except for some bad photos, 2 it could not be done.

    Examples:

    <!-- not run: needs a Ray cluster with GPUs -->
    ```sh
    facegraph embed photos --out faces.parquet
    facegraph embed /shared/photos --out faces.parquet --address auto \\
        --config configs/profiles/gpu.yaml
    facegraph embed photos --out faces.parquet --url http://faces:8000 --faces largest
    ```
    """
    _require_extra()
    if url and address:
        raise typer.BadParameter("--url and --address exclude each other")
    if out.exists() and not again:
        raise InvalidRequest(f"{out}: is there already; --again replaces it", field="out")
    from graph.batch.embedders import Work

    photos = photos_in(folder)
    asked = Work(folder.resolve(), tuple(recognizers or ()), faces)
    if url:
        parts = _embed_over_http(photos, asked, out, url, api_key)
    else:
        parts = _embed_here(photos, asked, out, file, address, workers)
    _report(out, photos, parts, as_json)


def photos_in(folder: Path) -> list[str]:
    """Sorted paths of photos, relative to the folder; raises InvalidRequest if there is none."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    photos = sorted(str(file.relative_to(folder)) for file in files if file.is_file())
    if not photos:
        raise InvalidRequest(f"{folder}: no photo ({', '.join(SUFFIXES)})", field="folder")
    return photos


def _require_extra() -> None:
    if not (find_spec("pyarrow") and find_spec("pandas")):
        raise InvalidConfig("embed needs Ray Data: pip install 'facegraph[embed]'")


def _embed_over_http(
    photos: Sequence[str], asked: "Work", out: Path, url: str, api_key: str | None
) -> "FaceParts":
    """asked: its recognizers may be empty, for the server's defaults."""
    from graph.batch.job import by_requests
    from graph.client.client import FaceGraph

    with FaceGraph.over_http(url, api_key) as graph:
        served = graph.models()
        work = replace(asked, recognizers=asked.recognizers or tuple(served.default_recognizers))
        run = {"models": {model.pool or model.stage: model.model for model in served.models}}
        return _embed(photos, work, run, out, lambda left: by_requests(left, work, graph))


def _embed_here(
    photos: Sequence[str],
    asked: "Work",
    out: Path,
    file: Path,
    address: str | None,
    workers: int | None,
) -> "FaceParts":
    """asked: its recognizers may be empty, for the file's defaults."""
    from graph.batch.job import on_ray_data
    from graph.cluster.serve_file import graph_config, read_serve_file

    config = graph_config(read_serve_file(file))
    work = replace(asked, recognizers=asked.recognizers or tuple(config.chosen_by_default))
    for name in work.recognizers:
        if name not in config.recognizers:
            raise UnknownRecognizer(f"{file}: no recognizer {name!r}", field="recognizers")
    run = config.model_dump(mode="json", include={"detector", "image_limits", "recognizers"})

    def results(left: Sequence[str]) -> Iterator["pa.Table"]:
        return on_ray_data(left, work, config, address=address, workers=workers)

    return _embed(photos, work, run, out, results)


def _embed(
    photos: Sequence[str],
    work: "Work",
    run: Mapping[str, Any],
    out: Path,
    results_of: "Callable[[Sequence[str]], Iterator[pa.Table]]",
) -> "FaceParts":
    """Writes the faces of the photos that no earlier run is done with, then joins all parts.

    run: the models and settings that the embeddings depend on.
    """
    from graph.batch.parts import FaceParts
    from graph.batch.table import faces_schema

    run = {"folder": str(work.folder), "faces": work.faces, **run, "names": work.recognizers}
    parts = FaceParts(out, run, faces_schema(work.recognizers))
    left = [photo for photo in photos if photo not in parts.done]
    done, note = len(photos) - len(left), f"{parts.faces} faces"
    with photo_bar("Embedding", len(photos), done=done, note=note) as advance:
        try:
            for results in results_of(left) if left else ():
                parts.add(results)
                advance(_photos(results), note=f"{parts.faces} faces")
        finally:
            parts.flush()
    parts.join()
    return parts


def _photos(results: "pa.Table") -> int:
    return len(results["photo"].unique())


def _report(out: Path, photos: Sequence[str], parts: "FaceParts", as_json: bool) -> None:
    problems = dict(sorted(parts.problems.items()))
    for photo, problem in problems.items():
        print_error(f"{photo}: {problem}")
    if as_json:
        bad = [{"photo": photo, "problem": problem} for photo, problem in problems.items()]
        print_json({"out": str(out), "photos": len(photos), "faces": parts.faces, "bad": bad})
    else:
        typer.echo(f"{out}: {parts.faces} faces of {len(photos) - len(problems)} photos")
    if problems:
        raise typer.Exit(NO)
