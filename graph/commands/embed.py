"""`facegraph embed`: the faces of a folder of photos, as one Parquet file."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.contracts import FaceChoice
from deployments.errors import InvalidConfig, InvalidRequest, UnknownRecognizer
from graph.commands.photos import Faces
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
    from graph.batch.table import FaceParts

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Asked:
    folder: Path
    recognizers: Sequence[str] | None
    faces: FaceChoice


@dataclass(frozen=True)
class Source:
    """Where results come from, and all that they depend on."""

    work: "Work"
    run: dict[str, Any]
    results: "Callable[[Sequence[str]], Iterator[pa.Table]]"


def embed(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Searched with all below it.")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The Parquet file to write.")],
    recognizers: RecognizerNames = None,
    faces: Annotated[
        Faces, typer.Option(help="Every face of a photo, or only its largest.")
    ] = Faces.all,
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
        typer.Option(min=1, help="Ray Data actors; left out, as many as there are free cores for."),
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
    """Embeddings of every face of every photo in a folder, a row for each face.

    Interrupted, the same command goes on where it was. Photos that cannot be read are listed at
    the end and end nothing; they are tried again the next time.

    Exit code: 0 done, 1 done but for some bad photos, 2 if it could not be done.

    Examples:

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
    photos = photos_in(folder)
    asked = Asked(folder.resolve(), recognizers, faces.value)
    with _server(asked, url, api_key) if url else _models(asked, file, address, workers) as source:
        parts = _embed(photos, source, out)
    _report(out, photos, parts, as_json)


def photos_in(folder: Path) -> list[str]:
    """Paths within the folder, sorted; raises InvalidRequest if there is none."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    photos = sorted(str(file.relative_to(folder)) for file in files if file.is_file())
    if not photos:
        raise InvalidRequest(f"{folder}: no photo ({', '.join(SUFFIXES)})", field="folder")
    return photos


def _require_extra() -> None:
    if not (find_spec("pyarrow") and find_spec("pandas")):
        raise InvalidConfig("embed needs Ray Data: pip install 'facegraph[embed]'")


@contextmanager
def _server(asked: Asked, url: str, api_key: str | None) -> Iterator[Source]:
    from graph.batch.embedders import Work
    from graph.batch.job import by_requests
    from graph.client.client import FaceGraph

    with FaceGraph.over_http(url, api_key) as graph:
        served = graph.models()
        names = tuple(asked.recognizers or served.default_recognizers)
        work = Work(asked.folder, names, asked.faces)
        models = {model.pool or model.stage: model.model for model in served.models}
        yield Source(work, {"models": models}, lambda photos: by_requests(photos, work, graph))


@contextmanager
def _models(asked: Asked, file: Path, address: str | None, workers: int | None) -> Iterator[Source]:
    from graph.batch.embedders import Work
    from graph.batch.job import on_ray_data
    from graph.cluster.serve_file import graph_config, read_serve_file

    config = graph_config(read_serve_file(file))
    names = tuple(asked.recognizers or config.chosen_by_default)
    for name in names:
        if name not in config.recognizers:
            raise UnknownRecognizer(f"{file}: no recognizer {name!r}", field="recognizers")
    work = Work(asked.folder, names, asked.faces)
    run = config.model_dump(mode="json", include={"detector", "image_limits", "recognizers"})

    def results(photos: Sequence[str]) -> Iterator["pa.Table"]:
        return on_ray_data(photos, work, config, address=address, workers=workers)

    yield Source(work, run, results)


def _embed(photos: Sequence[str], source: Source, out: Path) -> "FaceParts":
    from graph.batch.table import FaceParts, faces_schema

    work = source.work
    run = {"folder": str(work.folder), "faces": work.faces, **source.run}
    parts = FaceParts(out, run | {"names": work.recognizers}, faces_schema(work.recognizers))
    left = [photo for photo in photos if photo not in parts.done]
    done, note = len(photos) - len(left), f"{parts.faces} faces"
    with photo_bar("Embedding", len(photos), done=done, note=note) as advance:
        try:
            for results in source.results(left) if left else ():
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
