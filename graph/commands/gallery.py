"""`facegraph gallery create, list` and `facegraph search`: galleries of a server, or of the
configuration's database."""

from collections.abc import Iterator
from typing import Annotated

import typer

from deployments.contracts import FaceChoice
from deployments.gallery.contracts import Policy
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
from graph.gallery_schemas import SearchedFace, SearchResponse

GalleryName = Annotated[str, typer.Argument(help="The gallery's id.")]


gallery_app = typer.Typer(
    no_args_is_help=True, help="Galleries: persons, their faces, and the database."
)


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
    policy: Annotated[
        Policy | None, typer.Option(help="Faces refused at enrolment.", show_default=False)
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Create a gallery, or change its settings.

    Examples:

    ```sh
    facegraph gallery create staff --url http://faces:8000 --threshold 0.45
    ```
    """
    with open_graph(url, api_key=api_key, file=file) as graph:
        made = graph.galleries.create(
            gallery, recognizer=recognizer, threshold=threshold, policy=policy
        )
    if as_json:
        print_json(made)
    else:
        typer.echo(
            f"{made.id}: {made.recognizer}, threshold {made.threshold:g}, policy {made.policy},"
            f" {made.persons} persons, {made.faces} faces"
        )


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
    with open_graph(url, api_key=api_key, file=file) as graph:
        found = graph.galleries.list()
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, one.recognizer, f"{one.threshold:g}", one.policy, str(one.persons), str(one.faces))
        for one in found.galleries
    ]
    columns = ("gallery", "recognizer", "threshold", "policy", "persons", "faces")
    print_table(columns, rows, numbers=("threshold", "persons", "faces"))


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
    with open_graph(url, api_key=api_key, file=file) as graph:
        answer = graph.galleries.search(
            gallery,
            photo,
            faces=faces,
            top_k=top_k,
            threshold=threshold,
            liveness=liveness,
        )
    if as_json:
        print_json(answer)
    else:
        _print_search(answer)
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


def _rows(face: SearchedFace) -> Iterator[tuple[str, ...]]:
    """A row for each candidate; the first has the face and its decision."""
    doubts = f" ({', '.join(face.doubts)})" if face.doubts else ""
    head = (box_text(face.face) if face.face else "", face.decision + doubts)
    if not face.candidates:
        yield (*head, "", "", "")
    for candidate in face.candidates:
        similarity = f"{candidate.similarity:.3f}"
        yield (*head, candidate.person, candidate.name or "", similarity)
        head = ("", "")
