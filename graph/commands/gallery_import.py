"""`facegraph gallery import-compreface, import-insightface-server`: persons of other systems."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.errors import ModelUnavailable, WrongModel
from graph.commands.gallery import GalleryName, open_galleries
from graph.commands.gallery_enrol import AtATime, Failures, report_enrolment
from graph.commands.gallery_transfer import send_lines
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    print_json,
    print_table,
)
from graph.gallery_schemas import GalleryResponse, ImportResponse

if TYPE_CHECKING:
    from graph.batch.insightface_server import Collection
    from graph.client.client import FaceGraph

import_app = typer.Typer()


@import_app.command("import-compreface")
def import_compreface(
    gallery: GalleryName,
    source: Annotated[
        str, typer.Argument(help="CompreFace's URL, such as http://compreface:8000.")
    ],
    key: Annotated[
        str,
        typer.Option(
            envvar="COMPREFACE_API_KEY",
            help="The API key of its face recognition service. Other users of this machine see a"
            " command's options: set the variable instead.",
        ),
    ],
    at_a_time: AtATime = 4,
    failures: Failures = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Enrol the saved images of a CompreFace server's subjects.

    Each subject becomes a person of that name, whose id is the name too if it can be one. The
    embeddings are made anew, by the gallery's recognizer. May be run again, as `enrol`.

    Exit code: 0 all are enrolled, 1 some are not, 2 it could not be done.

    Examples:

    <!-- not run: needs a CompreFace server -->
    ```sh
    export COMPREFACE_API_KEY=...
    facegraph gallery import-compreface staff http://compreface:8000 --url http://faces:8000
    ```
    """
    from graph.batch.compreface import CompreFace
    from graph.batch.enrolment import enrol_persons

    server = CompreFace(source, key)
    with closing(server), open_galleries(url, api_key, file) as graph:
        persons = server.persons()
        done = enrol_persons(graph, gallery, persons, at_a_time=at_a_time)
        report_enrolment(persons, {}, done, failures=failures, as_json=as_json)


@import_app.command("import-insightface-server")
def import_insightface_server(
    gallery: GalleryName,
    database: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="The server's file insightface-server.db, in its folder of data.",
        ),
    ],
    collection: Annotated[str, typer.Argument(help="The collection's id.")],
    models: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="The server's folder of models, if they are not one of InsightFace's packs.",
        ),
    ] = None,
    crops: Annotated[
        bool,
        typer.Option(
            "--crops",
            help="Enrol the crops of faces that the server keeps, instead: for a gallery of another"
            " recognizer, if the photos are gone.",
        ),
    ] = False,
    at_a_time: AtATime = 4,
    failures: Failures = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Carry over the persons and embeddings of an InsightFace Server's collection.

    The gallery's recognizer must be the very file that made the embeddings, by its SHA-256;
    another is refused. Persons and faces that are there already stay as they are, so the command
    may be run again, also while the server runs. `--at-a-time` and `--failures` are for `--crops`.

    Exit code: 0 all faces were carried over, 1 some were not, 2 it could not be done.

    Examples:

    <!-- not run: needs an InsightFace Server's file -->
    ```sh
    facegraph gallery create staff --recognizer arcface --url http://faces:8000
    facegraph gallery import-insightface-server staff insightface-server.db employees --url http://faces:8000
    facegraph gallery import-insightface-server staff insightface-server.db employees --crops --url http://faces:8000
    ```
    """
    from graph.batch.enrolment import enrol_persons
    from graph.batch.insightface_server import read_collection

    found = read_collection(database, collection)
    with open_galleries(url, api_key, file) as graph:
        if not crops:
            header = _header(graph, graph.galleries.get(gallery), found, models)
            _import_persons(graph, gallery, found, header, as_json)
            return
        photos, missing = found.crops()
        passed_over = dict.fromkeys(missing, "the server keeps no crop of this face")
        _, refused = _sent(graph, gallery, found, b"", faces=False)
        passed_over |= {person: reason for person, _, reason in refused}
        done = enrol_persons(graph, gallery, photos, at_a_time=at_a_time)
        report_enrolment(photos, passed_over, done, failures=failures, as_json=as_json)


def _import_persons(
    graph: "FaceGraph", gallery: str, found: "Collection", header: bytes, as_json: bool
) -> None:
    """Import the persons with their embeddings, and report; exits with NO if some are refused."""
    done, refused = _sent(graph, gallery, found, header)
    if as_json:
        shown = [{"person": of, "face": face, "reason": reason} for of, face, reason in refused]
        print_json({"persons": done.persons, "faces": done.faces, "refused": shown})
    else:
        typer.echo(f"{gallery}: {done.persons} persons and {done.faces} faces added")
        if refused:
            print_table(("person", "face", "not carried over"), refused)
    if refused:
        raise typer.Exit(NO)


def _sent(
    graph: "FaceGraph", gallery: str, found: "Collection", header: bytes, *, faces: bool = True
) -> tuple[ImportResponse, list[tuple[str, str, str]]]:
    """Import the persons. Return what was added; and the person, the face and the reason of what
    was not, with no face for a whole person."""
    persons, refused = list[str](), list[tuple[str, str, str]]()

    def lines() -> Iterator[bytes]:
        for person in found.persons(faces=faces):
            persons.append(person.id)
            refused.extend((person.id, face.id, face.reason) for face in person.refused)
            yield person.line

    done = send_lines(graph, gallery, header, lines(), found.count)
    first = 1 + header.count(b"\n")
    return done, refused + [(persons[it.number - first], "", it.reason) for it in done.refused]


def _header(
    graph: "FaceGraph", gallery: GalleryResponse, found: "Collection", models: Path | None
) -> bytes:
    """An export's first line, for a collection by the gallery's recognizer.

    models: the server's folder of them. Raises WrongModel, and ModelUnavailable if the graph does
    not tell its recognizer's weights.
    """
    from deployments.weights.checksums import file_digest, is_version_of
    from graph.batch.insightface_server import recognizer_of

    files = [file_digest(path) for path in models.rglob("*.onnx")] if models else []
    recognizer = recognizer_of(found.digest, files)
    made_by = f"collection {found.id} has embeddings by {found.models}"
    if recognizer is None:
        place = f"in {models}" if models else "in InsightFace's packs: give --models"
        raise WrongModel(f"{made_by}, whose files are not {place}")
    version = gallery.version or _served_version(graph, gallery.recognizer)
    if not is_version_of(version, recognizer):
        raise WrongModel(
            f"{made_by}, with a recognizer of the SHA-256 {recognizer}; those of gallery"
            f" {gallery.id} are by {version}: serve that file for a gallery of its own, or enrol"
            " the photos anew, with `facegraph gallery enrol`",
            gallery=gallery.id,
            recognizer=gallery.recognizer,
            version=version,
        )
    header = {"gallery": gallery.id, "recognizer": gallery.recognizer, "version": version}
    return json.dumps(header).encode() + b"\n"


def _served_version(graph: "FaceGraph", recognizer: str) -> str:
    """The version of a pool's weights. Raises ModelUnavailable if it has no replica now."""
    for model in graph.models().models:
        if (model.stage, model.pool) == ("recognizer", recognizer) and model.version:
            return model.version
    raise ModelUnavailable(f"no replica of the recognizer {recognizer} tells its weights now")
