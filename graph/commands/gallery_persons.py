"""`facegraph gallery persons, person, verify, delete-person, merge-persons, move-person`, and those
of faces: `delete-face, move-face`."""

from typing import Annotated

import typer

from graph.client.galleries import Galleries
from graph.commands.gallery import GalleryName, MetadataFilter, ask, ask_to_delete, decision_text
from graph.commands.photos import PhotoFile
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    print_table,
)
from graph.gallery_schemas import (
    FaceRecord,
    PersonResponse,
    PersonsResponse,
    VerifyResponse,
)
from graph.schemas import Schema

persons_app = typer.Typer()
PersonName = Annotated[str, typer.Argument(help="The person's id.")]
FaceName = Annotated[str, typer.Argument(help="The face's id, as `person` shows it.")]


class PersonWithFaces(Schema):
    person: PersonResponse
    faces: list[FaceRecord]


@persons_app.command()
def persons(
    gallery: GalleryName,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most persons.")] = 100,
    cursor: Annotated[
        str | None, typer.Option(help="Where the list before ended: its `next_cursor`.")
    ] = None,
    metadata: MetadataFilter = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """List the persons of a gallery by id.

    Examples:

    ```sh
    facegraph gallery persons staff --url http://faces:8000
    facegraph gallery persons staff --filter '{"team": "night"}' --url http://faces:8000
    ```
    """

    def show(found: PersonsResponse) -> None:
        print_persons(*found.persons)
        if found.next_cursor:
            typer.echo(f"There are more: --cursor '{found.next_cursor}'")

    ask(
        lambda galleries: galleries.persons(gallery, limit=limit, cursor=cursor, filter=metadata),
        show,
        url,
        api_key,
        file,
        as_json,
    )


@persons_app.command()
def person(
    gallery: GalleryName,
    person: PersonName,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Show a person, and the person's faces.

    Examples:

    ```sh
    facegraph gallery person staff p-1017 --url http://faces:8000
    ```
    """

    def both(galleries: Galleries) -> PersonWithFaces:
        found = galleries.person(gallery, person)
        return PersonWithFaces(person=found, faces=galleries.faces(gallery, person).faces)

    def show(found: PersonWithFaces) -> None:
        print_persons(found.person)
        _print_faces(found.faces)

    ask(both, show, url, api_key, file, as_json)


@persons_app.command()
def verify(
    gallery: GalleryName,
    person: PersonName,
    photo: PhotoFile,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Cosine of a match; left out, the gallery's."),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Tell whether the largest face of a photo is a person's.

    Exit code: 0 match, 1 no match or uncertain, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery verify staff p-1017 selfie.jpg --url http://faces:8000
    ```
    """

    def show(found: VerifyResponse) -> None:
        typer.echo(
            f"{decision_text(found)}: similarity {found.similarity:.3f}, threshold"
            f" {found.threshold:.3f}"
        )

    answer = ask(
        lambda galleries: galleries.verify(gallery, person, photo, threshold=threshold),
        show,
        url,
        api_key,
        file,
        as_json,
    )
    if not answer.matched:
        raise typer.Exit(NO)


@persons_app.command("delete-person")
def delete_person(
    gallery: GalleryName,
    person: PersonName,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Delete a person with all faces, for good.

    Exit code: 0 deleted, 1 there was none, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery delete-person staff p-1017 --url http://faces:8000
    ```
    """
    ask_to_delete(
        person, lambda them: them.delete_person(gallery, person), url, api_key, file, as_json
    )


@persons_app.command("delete-face")
def delete_face(
    gallery: GalleryName,
    person: PersonName,
    face: FaceName,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Delete one face of a person, for good.

    Exit code: 0 deleted, 1 there was none, 2 it could not be done.

    Examples:

    <!-- not run: needs a face's id -->
    ```sh
    facegraph gallery delete-face staff p-1017 1c0f3d --url http://faces:8000
    ```
    """
    ask_to_delete(
        face, lambda them: them.delete_face(gallery, person, face), url, api_key, file, as_json
    )


@persons_app.command("merge-persons")
def merge_persons(
    gallery: GalleryName,
    person: PersonName,
    other: Annotated[str, typer.Argument(help="The person who is merged, and then deleted.")],
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Give all faces of another person to a person, and delete the other one.

    Examples:

    <!-- not run: needs two persons of a gallery -->
    ```sh
    facegraph gallery merge-persons staff p-1017 p-1018 --url http://faces:8000
    ```
    """
    ask(
        lambda galleries: galleries.merge(gallery, person, other),
        print_persons,
        url,
        api_key,
        file,
        as_json,
    )


@persons_app.command("move-person")
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

    def show(moved: PersonResponse) -> None:
        typer.echo(f"{person}: in {to}, {moved.faces} faces")

    ask(lambda them: them.move_person(gallery, person, to), show, url, api_key, file, as_json)


@persons_app.command("move-face")
def move_face(
    gallery: GalleryName,
    person: PersonName,
    face: FaceName,
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

    def show(moved: FaceRecord) -> None:
        typer.echo(f"{moved.id}: now of {to}")

    ask(lambda them: them.move_face(gallery, person, face, to), show, url, api_key, file, as_json)


def print_persons(*found: PersonResponse) -> None:
    rows = [
        (
            one.id,
            one.name or "",
            str(one.faces),
            ", ".join(f"{key}: {value}" for key, value in one.metadata.items()),
            f"{one.expires_at:%Y-%m-%d}" if one.expires_at else "",
        )
        for one in found
    ]
    print_table(("person", "name", "faces", "metadata", "expires"), rows, numbers=("faces",))


def _print_faces(faces: list[FaceRecord]) -> None:
    rows = [
        (
            one.id,
            " ".join(f"{value:.0f}" for value in one.box or ()),
            "" if one.quality is None else f"{one.quality:.2f}",
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
        )
        for one in faces
    ]
    print_table(("face", "box: x1 y1 x2 y2", "quality", "enrolled (UTC)"), rows)
