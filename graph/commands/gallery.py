"""`facegraph gallery create, list, show, delete` and `facegraph search`: galleries of a server, or
of the configuration's database."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from deployments.contracts import FaceChoice
from deployments.errors import GalleriesDisabled
from deployments.gallery.contracts import Policy, Scalar, Scoring
from graph.client.client import FaceGraph
from graph.client.galleries import Galleries
from graph.commands.photos import PhotoFile, box_text, liveness_text
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    open_graph,
    print_json,
    print_table,
)
from graph.gallery_schemas import (
    DeletedResponse,
    GalleriesResponse,
    GalleryResponse,
    SearchedFace,
    SearchResponse,
    VerifyResponse,
)


def json_object(text: str) -> dict[str, Scalar]:
    """Raises BadParameter."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{text}: expected a JSON object")
    return found


Answer = TypeVar("Answer", bound=BaseModel)
GalleryName = Annotated[str, typer.Argument(help="The gallery's id.")]
MetadataFilter = Annotated[
    dict[str, Scalar] | None,
    typer.Option(
        "--filter",
        parser=json_object,
        metavar="JSON",
        help='Only persons whose metadata have these values, such as `{"team": "night"}`.',
    ),
]


gallery_app = typer.Typer(
    no_args_is_help=True, help="Galleries: persons, their faces, and the database."
)


@contextmanager
def open_galleries(url: str | None, api_key: str | None, file: Path) -> Iterator[FaceGraph]:
    """`open_graph`. Raises GalleriesDisabled before it starts a private graph without galleries."""
    if not url:
        # These load Ray, which the client of a server does not need.
        from graph.cluster.serve_file import graph_config, read_serve_file
        from graph.pipeline.galleries import SWITCHED_OFF

        if not graph_config(read_serve_file(file)).gallery.enabled:
            raise GalleriesDisabled(f"{file}: {SWITCHED_OFF}; or name a server: --url")
    with open_graph(url, api_key=api_key, file=file) as graph:
        yield graph


def ask(
    call: Callable[[Galleries], Answer],
    show: Callable[[Answer], None],
    url: str | None,
    api_key: str | None,
    file: Path,
    as_json: bool,
) -> Answer:
    """Ask the server, or a private graph of the file, and show the answer, or print its JSON."""
    with open_galleries(url, api_key, file) as graph:
        answer = call(graph.galleries)
    if as_json:
        print_json(answer)
    else:
        show(answer)
    return answer


def ask_to_delete(
    name: str,
    call: Callable[[Galleries], DeletedResponse],
    url: str | None,
    api_key: str | None,
    file: Path,
    as_json: bool,
) -> None:
    """Delete what has the name; exits with NO if it was not there."""

    def show(done: DeletedResponse) -> None:
        kept = "" if done.purged else "; the database's disk is cleared later"
        typer.echo(f"{name}: deleted{kept}" if done.deleted else f"{name}: was not there")

    if not ask(call, show, url, api_key, file, as_json).deleted:
        raise typer.Exit(NO)


@gallery_app.command()
def create(
    gallery: GalleryName,
    recognizer: Annotated[
        str | None, typer.Option(help="Its recognizer pool; left out, the graph's first default.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Cosine of a match; left out, the recognizer's own threshold."
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, help="A match is uncertain if the second person is less than this behind."
        ),
    ] = None,
    scoring: Annotated[
        Scoring | None,
        typer.Option(
            help="A person's similarity: of the best face, or of the faces' mean.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Faces refused at enrolment.", show_default=False)
    ] = None,
    max_faces: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Most faces of one person.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Create a gallery, or change its settings.

    A setting that is left out stays as it is; in a new gallery it is the configuration's.

    Examples:

    ```sh
    facegraph gallery create staff --url http://faces:8000 --threshold 0.45
    facegraph gallery create staff --url http://faces:8000 --min-margin 0.05 --scoring centroid
    ```
    """

    def create_gallery(galleries: Galleries) -> GalleryResponse:
        return galleries.create(
            gallery,
            recognizer=recognizer,
            threshold=threshold,
            min_margin=min_margin,
            scoring=scoring,
            policy=policy,
            max_faces_per_person=max_faces,
        )

    ask(create_gallery, _print_galleries, url, api_key, file, as_json)


@gallery_app.command("list")
def list_galleries(
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """List the galleries.

    Examples:

    ```sh
    facegraph gallery list --url http://faces:8000
    ```
    """

    def show_all(found: GalleriesResponse) -> None:
        _print_galleries(*found.galleries)

    ask(Galleries.list, show_all, url, api_key, file, as_json)


@gallery_app.command()
def show(
    gallery: GalleryName,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Show a gallery's settings, its model, and the numbers of its persons and faces.

    Examples:

    ```sh
    facegraph gallery show staff --url http://faces:8000
    ```
    """
    ask(lambda galleries: galleries.get(gallery), _print_gallery, url, api_key, file, as_json)


@gallery_app.command()
def delete(
    gallery: GalleryName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Delete a gallery with all its persons and faces, for good.

    Exit code: 0 deleted, 1 there was none, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery create old --url http://faces:8000
    facegraph gallery delete old --yes --url http://faces:8000
    ```
    """
    if not yes:
        typer.confirm(f"Delete {gallery} with all its persons and faces?", abort=True, err=True)
    ask_to_delete(gallery, lambda them: them.delete(gallery), url, api_key, file, as_json)


def _print_galleries(*galleries: GalleryResponse) -> None:
    rows = [
        (one.id, one.recognizer, f"{one.threshold:g}", one.policy, str(one.persons), str(one.faces))
        for one in galleries
    ]
    columns = ("gallery", "recognizer", "threshold", "policy", "persons", "faces")
    print_table(columns, rows, numbers=("threshold", "persons", "faces"))


def _print_gallery(gallery: GalleryResponse) -> None:
    settings = gallery.model_dump() | {"created_at": f"{gallery.created_at:%Y-%m-%d %H:%M:%S} UTC"}
    rows = [(name, "" if value is None else str(value)) for name, value in settings.items()]
    print_table(("setting", "value"), rows)


def search(
    photo: PhotoFile,
    gallery: Annotated[str, typer.Option(help="The gallery's id.")],
    faces: Annotated[
        FaceChoice, typer.Option(help="Search for the largest face, or for each face.")
    ] = "largest",
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Most candidates for a face.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Cosine of a match; left out, the gallery's."),
    ] = None,
    metadata: MetadataFilter = None,
    liveness: Annotated[
        bool, typer.Option("--liveness", help="Decide whether the faces are live.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Search a photo's faces among the persons of a gallery.

    Exit code: 0 a face matches, 1 none does, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery create staff --url http://faces:8000
    facegraph gallery enrol staff people --url http://faces:8000
    facegraph search selfie.jpg --gallery staff --url http://faces:8000
    facegraph search group.jpg --gallery staff --faces all --json
    ```
    """

    def search_photo(galleries: Galleries) -> SearchResponse:
        return galleries.search(
            gallery,
            photo,
            faces=faces,
            top_k=top_k,
            threshold=threshold,
            filter=metadata,
            liveness=liveness,
        )

    answer = ask(search_photo, _print_search, url, api_key, file, as_json)
    if not any(face.decision == "match" for face in answer.faces):
        raise typer.Exit(NO)


def _print_search(answer: SearchResponse) -> None:
    typer.echo(f"threshold {answer.threshold:.3f}")
    rows = [row for face in answer.faces for row in _rows(face)]
    columns = ("box: x1 y1 x2 y2", "decision", "person", "name", "similarity")
    print_table(columns, rows, numbers=("similarity",))
    for searched in answer.faces:
        if searched.face and searched.face.liveness:
            typer.echo(liveness_text("image", searched.face.liveness))


def decision_text(found: SearchedFace | VerifyResponse) -> str:
    """The decision, with the doubts that make it uncertain."""
    return found.decision + (f" ({', '.join(found.doubts)})" if found.doubts else "")


def _rows(face: SearchedFace) -> Iterator[tuple[str, ...]]:
    """A row for each candidate; the first has the face and its decision."""
    head = (box_text(face.face) if face.face else "", decision_text(face))
    if not face.candidates:
        yield (*head, "", "", "")
    for candidate in face.candidates:
        similarity = f"{candidate.similarity:.3f}"
        yield (*head, candidate.person, candidate.name or "", similarity)
        head = ("", "")
