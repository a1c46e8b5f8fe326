"""`facegraph embed`: writes the faces of a folder of photos to one Parquet file."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.extras import install_command
from deployments.contracts import FaceChoice
from deployments.errors import InvalidConfig, InvalidRequest
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
    print_progress,
    require_served,
    writable_file,
)

if TYPE_CHECKING:  # the extra `embed` brings them
    import pyarrow as pa

    from graph.batch.embedders import EmbeddingJob
    from graph.batch.parts import FaceParts

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif", ".avif")


def _parquet_file(file: Path) -> Path | None:
    """Callback of --out: refuses another format's name, and a file that cannot be written."""
    if file.suffix.lower() != ".parquet":
        raise typer.BadParameter(f"{file}: expected a name that ends in .parquet")
    return writable_file(file)


def embed(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Searched for photos at any depth.")
    ],
    out: Annotated[
        Path,
        typer.Option(dir_okay=False, callback=_parquet_file, help="The Parquet file to write."),
    ],
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
    """Embed every face of every photo in a folder; the file gets a row for each face.

    The same command, given again after an interruption, embeds the photos that are left. Photos
    that cannot be read are left out, listed at the end, and tried again by the same command.

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
    from graph.batch.embedders import EmbeddingJob

    photos = photos_in(folder)
    job = EmbeddingJob(folder.resolve(), tuple(recognizers or ()), faces)
    if url:
        parts = _embed_over_http(photos, job, out, url, api_key)
    else:
        parts = _embed_here(photos, job, out, file, address, workers)
    _report(out, photos, parts, as_json)


def photos_in(folder: Path) -> list[str]:
    """Sorted paths of photos, relative to the folder; raises InvalidRequest if it has none."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    photos = sorted(str(file.relative_to(folder)) for file in files if _is_photo(file))
    if not photos:
        raise InvalidRequest(f"{folder}: no photo ({', '.join(SUFFIXES)})", field="folder")
    others = Counter(file.suffix.lower() or file.name for file in files if not _is_photo(file))
    if others:
        counted = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        print_progress(f"Only {', '.join(SUFFIXES)} are read; left out: {counted}")
    return photos


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _require_extra() -> None:
    if not (find_spec("pyarrow") and find_spec("pandas")):
        raise InvalidConfig(f"embed needs Ray Data: {install_command('embed')}")


def _embed_over_http(
    photos: Sequence[str], job: "EmbeddingJob", out: Path, url: str, api_key: str | None
) -> "FaceParts":
    """job: with no recognizers, the server's defaults are taken."""
    from graph.batch.job import by_requests
    from graph.client.client import FaceGraph

    with FaceGraph.over_http(url, api_key) as graph:
        served = graph.models()
        job = replace(job, recognizers=job.recognizers or tuple(served.default_recognizers))
        run = {"models": {model.pool or model.stage: model.model for model in served.models}}
        return _embed(photos, job, run, out, lambda left: by_requests(left, job, graph))


def _embed_here(
    photos: Sequence[str],
    job: "EmbeddingJob",
    out: Path,
    file: Path,
    address: str | None,
    workers: int | None,
) -> "FaceParts":
    """job: with no recognizers, the file's defaults are taken."""
    from graph.batch.job import on_ray_data
    from graph.cluster.serve_file import graph_config, read_serve_file

    config = graph_config(read_serve_file(file))
    job = replace(job, recognizers=job.recognizers or tuple(config.chosen_by_default))
    require_served(job.recognizers, config.recognizers)
    run = config.model_dump(mode="json", include={"detector", "image_limits", "recognizers"})

    def results(left: Sequence[str]) -> Iterator["pa.Table"]:
        return on_ray_data(left, job, config, address=address, workers=workers)

    return _embed(photos, job, run, out, results)


def _embed(
    photos: Sequence[str],
    job: "EmbeddingJob",
    run: Mapping[str, Any],
    out: Path,
    results_of: "Callable[[Sequence[str]], Iterator[pa.Table]]",
) -> "FaceParts":
    """Embed the photos that no earlier run has done, then join all parts to the file.

    run: the models and settings that the embeddings depend on. results_of: embeds photos; yields
    rows of `results_schema`.
    """
    from graph.batch.parts import FaceParts
    from graph.batch.table import PHOTO, faces_schema

    run = {"folder": str(job.folder), "faces": job.faces, **run, "names": job.recognizers}
    parts = FaceParts(out, photos, run, faces_schema(job.recognizers))
    left = [photo for photo in photos if photo not in parts.done]
    done, note = len(photos) - len(left), f"{parts.faces} faces"
    with photo_bar("Embedding", len(photos), done=done, note=note) as advance:
        try:
            for results in results_of(left) if left else ():
                parts.add(results)
                advance(len(results[PHOTO].unique()), note=f"{parts.faces} faces")
        finally:
            parts.flush()
    parts.join()
    return parts


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
