"""`facegraph embed`: writes the faces of a folder of photos to one Parquet file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from deployments.contracts import EMBEDDING_SIZE, FaceChoice
from deployments.errors import InvalidRequest
from deployments.images.formats import FORMATS
from graph.batch.folder import IGNORED, FolderContents, search
from graph.batch.names import text_of
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    RecognizerNames,
    err,
    photo_bar,
    print_error,
    print_json,
    print_line,
    print_progress,
    require_ray_data,
    require_served,
    writable_file,
)

if TYPE_CHECKING:  # the extra `embed` brings them
    import pyarrow as pa

    from graph.batch.embedders import EmbeddingJob
    from graph.batch.parts import FaceParts


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
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Names of files and folders to pass over, such as `*.mov`; may be given several"
            f" times. Always passed over: {', '.join(f'`{name}`' for name in IGNORED)}.",
        ),
    ] = None,
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

    The same command, given again after an interruption, embeds the photos that are left.

    A file is a photo by its content, whatever its name: JPEG, PNG, WebP, BMP, HEIC and AVIF are
    read. Every other file (a video, a text, an empty or damaged file, one that cannot be opened) is
    skipped, as are links to folders, and listed at the end with the reason. Hidden files, sidecars
    and others that `--exclude` names are passed over without a word.

    In the Parquet file and in messages, `\\xNN` stands for a byte of a name that is a backslash,
    belongs to a control character or is not UTF-8.

    Exit code: 0 done, 1 done except for skipped files, 2 it could not be done.

    Examples:

    <!-- not run: needs a Ray cluster with GPUs -->
    ```sh
    facegraph embed photos --out faces.parquet
    facegraph embed /shared/photos --out faces.parquet --address auto \\
        --config configs/profiles/gpu.yaml
    facegraph embed photos --out faces.parquet --url http://faces:8000 --faces largest
    ```
    """
    require_ray_data("embed")
    if url and address:
        raise typer.BadParameter("--url and --address exclude each other")
    if out.exists() and not again:
        raise InvalidRequest(f"{out}: is there already; --again replaces it", field="out")
    from graph.batch.embedders import EmbeddingJob

    found = _searched(folder, out, exclude or ())
    job = EmbeddingJob(folder.resolve(), {}, faces)
    if url:
        parts = _embed_over_http(found.photos, job, recognizers, out, url, api_key)
    else:
        parts = _embed_here(found.photos, job, recognizers, out, file, address, workers)
    _report(out, len(found.photos), found.skipped, parts, as_json)


def _searched(folder: Path, out: Path, exclude: Sequence[str]) -> FolderContents:
    """Search the folder, but for the command's own files; raises InvalidRequest without a photo."""
    from graph.batch.parts import parts_folder

    own = [escape(out.name), escape(parts_folder(out).name)]
    with err.status(Text(f"Searching {text_of(folder)} for photos")):
        found = search(folder, [*IGNORED, *exclude, *own])
    if not found.photos:
        _print_skipped(found.skipped)
        formats = ", ".join(dict.fromkeys(FORMATS.values()))
        raise InvalidRequest(f"{text_of(folder)}: no photo ({formats})", field="folder")
    if found.skipped:
        skipped = f"{len(found.skipped)} files skipped, which are listed at the end"
        print_progress(f"{len(found.photos)} photos; {skipped}")
    return found


def _embed_over_http(
    photos: Sequence[str],
    job: "EmbeddingJob",
    recognizers: Sequence[str] | None,
    out: Path,
    url: str,
    api_key: str | None,
) -> "FaceParts":
    """recognizers: None takes the server's defaults."""
    from graph.batch.job import by_requests
    from graph.client.client import FaceGraph

    with FaceGraph.over_http(url, api_key) as graph:
        served = graph.models()
        sizes = {it.pool: it.embedding_size for it in served.models if it.stage == "recognizer"}
        names = recognizers or served.default_recognizers
        # A server of an earlier version does not tell the sizes.
        job = replace(job, recognizers={one: sizes.get(one) or EMBEDDING_SIZE for one in names})
        models = [model for model in served.models if model.stage != "classifier"]
        run = {"models": {it.pool or it.stage: it.version or it.model for it in models}}
        return _embed(photos, job, run, out, lambda left: by_requests(left, job, graph))


def _embed_here(
    photos: Sequence[str],
    job: "EmbeddingJob",
    recognizers: Sequence[str] | None,
    out: Path,
    file: Path,
    address: str | None,
    workers: int | None,
) -> "FaceParts":
    """recognizers: None takes the file's defaults."""
    from graph.batch.job import on_ray_data, versions
    from graph.cluster.serve_file import graph_config, read_serve_file

    config = graph_config(read_serve_file(file))
    names = recognizers or config.chosen_by_default
    require_served(names, config.recognizers)
    sizes = {name: config.recognizers[name].entry.embedding_size for name in names}
    job = replace(job, recognizers=sizes)
    settings = config.model_dump(mode="json", include={"detector", "image_limits", "recognizers"})
    run = {**settings, "versions": versions(job, config)}

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

    run = {"folder": text_of(job.folder), "faces": job.faces, **run, "names": list(job.recognizers)}
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


def _report(
    out: Path, photos: int, skipped: Mapping[str, str], parts: "FaceParts", as_json: bool
) -> None:
    """photos: count of those that were found. skipped: the reasons for other files."""
    skipped = dict(sorted({**skipped, **parts.problems}.items()))
    embedded = photos - len(parts.problems)
    _print_skipped(skipped)
    if as_json:
        listed = [{"file": name, "reason": reason} for name, reason in skipped.items()]
        counts = {"photos": embedded, "faces": parts.faces}
        print_json({"out": text_of(out), **counts, "skipped": listed})
    else:
        also = f"; {len(skipped)} files skipped" if skipped else ""
        print_line(f"{text_of(out)}: {parts.faces} faces of {embedded} photos{also}")
    if skipped:
        raise typer.Exit(NO)


def _print_skipped(skipped: Mapping[str, str]) -> None:
    for name, reason in skipped.items():
        print_error(f"{name}: {reason}")
