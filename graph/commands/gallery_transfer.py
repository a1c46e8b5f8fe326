"""`facegraph gallery export, import`: a gallery's persons and faces in a file of NDJSON."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated, Any

import typer

from deployments.errors import InvalidRequest, UnknownGallery
from graph.client.client import FaceGraph
from graph.commands.gallery import GalleryName, open_galleries
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    photo_bar,
    print_json,
    print_table,
    writable_file,
)
from graph.gallery_schemas import ImportResponse, RefusedLine

transfer_app = typer.Typer()
# Bytes of whole lines in a request.
_SENT_AT_A_TIME = 4 * 1024 * 1024
# In place of an export's first line, which names the faces' model.
_NO_HEADER = b"\n"
# The settings of an export's first line with which `import` makes a gallery.
_SETTINGS = (
    "recognizer", "threshold", "min_margin", "scoring", "policy", "max_faces_per_person",
)  # fmt: skip


@transfer_app.command("export")
def export_gallery(
    gallery: GalleryName,
    target: Annotated[
        Path, typer.Argument(help="The file, made or replaced.", callback=writable_file)
    ],
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Write a gallery's persons and faces, with embeddings, to a file of NDJSON.

    The file has biometric data: only its owner may read it. It appears when it is whole.

    Examples:

    ```sh
    facegraph gallery export staff staff.ndjson --url http://faces:8000
    ```
    """
    with open_galleries(url, api_key, file) as graph:
        persons = graph.galleries.get(gallery).persons
        with photo_bar("Exporting", persons, unit="persons") as advance, _whole(target) as out:
            lines = 0
            for piece in graph.galleries.export(gallery):
                out.write(piece)
                lines += piece.count(b"\n")
                advance(piece.count(b"\n"))
    written = {"file": str(target), "persons": lines - 1}
    if as_json:
        print_json(written)
    else:
        typer.echo(f"{target}: {lines - 1} persons")


@contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner may read, and that replaces the target if the block succeeds."""
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            yield file
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, target)


@transfer_app.command("import")
def import_gallery(
    gallery: GalleryName,
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A file that `export` wrote.")
    ],
    persons_only: Annotated[
        bool,
        typer.Option(
            "--persons-only",
            help="Ids, names, metadata and expiry without faces: for a gallery of another model,"
            " whose photos are enrolled again.",
        ),
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Add the persons and faces of an export to a gallery, which is made if it is missing.

    Persons and faces that are there already stay as they are, so the command may be stopped and
    run again. A file of another model, or of other weights, is refused.

    Exit code: 0 all lines were taken, 1 some were refused, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery import staff staff.ndjson --url http://faces:8000
    ```
    """
    header, persons = _read_ahead(source)
    with (
        open_galleries(url, api_key, file) as graph,
        source.open("rb") as lines,
    ):
        _ensure_gallery(graph, gallery, json.loads(lines.readline()))
        if persons_only:
            done = send_lines(graph, gallery, _NO_HEADER, map(_without_faces, lines), persons)
        else:
            done = send_lines(graph, gallery, header, lines, persons)
    refused = [(line.number, line.reason) for line in done.refused]
    if as_json:
        shown = [{"line": line, "reason": reason} for line, reason in refused]
        print_json({"persons": done.persons, "faces": done.faces, "refused": shown})
    else:
        typer.echo(f"{gallery}: {done.persons} persons and {done.faces} faces added")
        if refused:
            print_table(("line", "refused"), [(str(line), reason) for line, reason in refused])
    if refused:
        raise typer.Exit(NO)


def _read_ahead(source: Path) -> tuple[bytes, int]:
    """The first line, and the number of the others. Raises InvalidRequest if it is no export."""
    with source.open("rb") as lines:
        header = lines.readline()
        try:
            content = json.loads(header)
        except ValueError:
            content = None
        if not isinstance(content, dict) or "gallery" not in content:
            raise InvalidRequest(
                f"{source}: the first line of an export names its gallery and recognizer"
            )
        return header.rstrip(b"\r\n") + b"\n", sum(1 for _ in lines)


def _ensure_gallery(graph: FaceGraph, gallery: str, header: dict[str, Any]) -> None:
    try:
        graph.galleries.get(gallery)
    except UnknownGallery:
        graph.galleries.create(gallery, **{name: header.get(name) for name in _SETTINGS})


def send_lines(
    graph: FaceGraph, gallery: str, header: bytes, lines: Iterable[bytes], persons: int
) -> ImportResponse:
    """Import an export's lines after the header, with a bar; persons: about their number.

    Refused lines are counted from 1, the header.
    """
    sent, made, faces = 0, 0, 0
    refused: list[RefusedLine] = []
    with photo_bar("Importing", persons, unit="persons") as advance:
        for piece in _pieces(lines):
            # Each request has the first line, by which the model is checked.
            done = graph.galleries.import_lines(gallery, header + piece)
            made, faces = made + done.persons, faces + done.faces
            refused += [
                RefusedLine(number=sent + line.number, reason=line.reason) for line in done.refused
            ]
            count = piece.count(b"\n")
            sent += count
            advance(count)
    return ImportResponse(persons=made, faces=faces, refused=refused)


def _without_faces(line: bytes) -> bytes:
    """A person's line without faces; a line that is none stays, to be refused."""
    try:
        return json.dumps({**json.loads(line), "faces": []}).encode() + b"\n"
    except (ValueError, TypeError):
        return line


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of whole lines, some megabytes each."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _SENT_AT_A_TIME:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
