"""`facegraph gallery move-person, move-face`."""

from typing import Annotated

import typer

from graph.commands.gallery import GalleryName
from graph.commands.terminal import (
    DEFAULT_FILE,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    open_graph,
    print_json,
)

move_app = typer.Typer()
PersonName = Annotated[str, typer.Argument(help="The person's id.")]


@move_app.command("move-person")
def move_person(
    gallery: GalleryName,
    person: PersonName,
    to: Annotated[str, typer.Argument(help="The gallery to which the person goes.")],
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Move a person with all faces to another gallery of the same model.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery move-person staff p-1017 archive --url http://faces:8000
    ```
    """
    with open_graph(url, api_key=api_key, file=file) as graph:
        moved = graph.galleries.move_person(gallery, person, to)
    if as_json:
        print_json(moved)
    else:
        typer.echo(f"{person}: in {to}, {moved.faces} faces")


@move_app.command("move-face")
def move_face(
    gallery: GalleryName,
    person: PersonName,
    face: Annotated[str, typer.Argument(help="The face's id.")],
    to: Annotated[str, typer.Argument(help="The person to whom the face goes.")],
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Give a face to another person of the gallery.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery move-face staff p-1017 1c0f3d p-1018 --url http://faces:8000
    ```
    """
    with open_graph(url, api_key=api_key, file=file) as graph:
        moved = graph.galleries.move_face(gallery, person, face, to)
    if as_json:
        print_json(moved)
    else:
        typer.echo(f"{moved.id}: now of {to}")
