"""`facegraph gallery demo`: enrols the faces of a bundled photo, and finds a man among them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.shipped import SERVE_CONFIG
from graph.bundled import bundled_photo
from graph.client.client import FaceGraph
from graph.commands.demo import SHOWN, is_expected
from graph.commands.photos import box_text, writable_picture
from graph.commands.terminal import NO, print_progress, print_table, stdout_console
from graph.gallery_schemas import SearchedFace
from graph.schemas import Face

if TYPE_CHECKING:
    from deployments.contracts import ByteArray

demo_app = typer.Typer()
_GALLERY = "players"
# Margin around a face's box that is enrolled with it, in widths and heights of the box.
_MARGIN = 0.5


@demo_app.command()
def demo(
    out: Annotated[
        Path,
        typer.Option(dir_okay=False, callback=writable_picture, help="The picture, PNG or JPEG."),
    ] = Path("demo-gallery.png"),
) -> None:
    """Enrol the faces of a bundled group photo, and find a man of another photo among them.

    Runs a private graph of the default models, with a database that is deleted at the end. Prints
    the candidates and draws the one that is found. Exit code: 0 the right man is found, 1 he is
    not, 2 it could not be done.

    Examples:

    <!-- not run: starts a graph of its own -->
    ```sh
    facegraph gallery demo --out found.png
    ```
    """
    portrait, group = bundled_photo("yaoming.jpg"), bundled_photo("players.jpg")
    print_progress("Starting the graph, which usually takes 15 to 30 s")
    from graph.cluster.launch import own_graph
    from graph.commands.drawing import draw_search, read_served_photo, write_picture

    with (
        TemporaryDirectory(prefix="facegraph-demo-") as folder,
        own_graph(_with_galleries(folder), report=print_progress) as graph,
    ):
        with FaceGraph.over_http(graph.url) as client:
            detected = client.detect(group)
            pixels = read_served_photo(group, detected.image)
            # Those of the audience are too small to recognise anybody.
            faces = [face for face in detected.faces if "small" not in face.reasons]
            print_progress(f"Enrolling {len(faces)} of {group.name}'s {len(detected.faces)} faces")
            players = _enrolled(client, pixels, faces)
            print_progress(f"Searching {portrait.name} among {len(players)} persons")
            answer = client.galleries.search(_GALLERY, portrait, top_k=SHOWN)
        (searched,) = answer.faces
        _print(searched, players, answer.threshold)
        best = searched.candidates[0]
        found = players[best.person]
        assert answer.image
        assert searched.face
        photo = read_served_photo(portrait, answer.image)
        label = f"{best.similarity:.3f} {searched.decision}"
        canvas = draw_search(photo, pixels, searched.face, list(players.values()), found, label)
        write_picture(out, canvas)
        console = stdout_console()
        console.print(f"Wrote {out}", markup=False)
        is_right = searched.decision == "match" and is_expected(found)
        console.print("The match is the right man." if is_right else "The right man is not found!")
        print_progress("Stopping the graph")
    if not is_right:
        raise typer.Exit(NO)


def _with_galleries(folder: str) -> dict[str, Any]:
    """The shipped Serve config, with galleries kept in the folder."""
    from graph.cluster.serve_file import read_serve_file  # loads Ray

    content = read_serve_file(SERVE_CONFIG)
    (app,) = content["applications"]
    gallery = {"enabled": True, "data_dir": folder, "defaults": {"policy": "off"}}
    stage = {"name": "Gallery", "ray_actor_options": {"num_cpus": 0.1}}
    with_stage = {
        "args": app["args"] | {"gallery": gallery},
        "deployments": [*app["deployments"], stage],
    }
    return content | {"applications": [app | with_stage]}


def _enrolled(client: FaceGraph, pixels: "ByteArray", faces: list[Face]) -> dict[str, Face]:
    """Enrol each face as a person of its own; returns the persons' faces by their ids.

    pixels: uint8 [H,W,3] BGR, the photo of the faces.
    """
    client.galleries.create(_GALLERY)
    enrolled = {}
    for number, face in enumerate(faces, start=1):
        person = f"player-{number}"
        client.galleries.add_person(_GALLERY, person, name=f"Player {number}")
        (done,) = client.galleries.enrol(_GALLERY, person, [_cut_out(pixels, face)]).photos
        if done.outcome == "enrolled":
            enrolled[person] = face
        else:
            reasons = "; ".join(problem.message for problem in done.problems)
            print_progress(f"{person} is not enrolled: {reasons}")
    return enrolled


def _cut_out(pixels: "ByteArray", face: Face) -> "ByteArray":
    """The part of the photo around a face, uint8 [H,W,3] BGR."""
    x1, y1, x2, y2 = face.box
    across, down = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    rows = slice(max(0, round(y1 - down)), round(y2 + down))
    return pixels[rows, max(0, round(x1 - across)) : round(x2 + across)]


def _print(searched: SearchedFace, players: dict[str, Face], threshold: float) -> None:
    rows = [
        (one.person, f"{one.similarity:.3f}", box_text(players[one.person]))
        for one in searched.candidates
    ]
    title = f"{searched.decision}: best of {len(players)} persons (threshold {threshold:.2f})"
    columns = ("person", "similarity", "box x1 y1 x2 y2")
    print_table(columns, rows, numbers=("similarity",), title=title)
