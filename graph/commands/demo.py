"""`facegraph demo`: compares two bundled photos on a private graph and draws the answer."""

from pathlib import Path
from typing import Annotated

import typer

from configs.shipped import SERVE_CONFIG
from graph.bundled import bundled_photo
from graph.client.client import FaceGraph
from graph.commands.photos import box_text, writable_picture
from graph.commands.terminal import (
    NO,
    print_progress,
    print_table,
    stdout_console,
)
from graph.schemas import CompareResponse, Face

SHOWN = 5
# Box of the man of yaoming.jpg in players.jpg: x1 y1 x2 y2 in pixels.
EXPECTED_BOX = (720.0, 139.0, 763.0, 191.0)
TOLERANCE_PX = 8.0


def demo(
    out: Annotated[
        Path,
        typer.Option(dir_okay=False, callback=writable_picture, help="The picture, PNG or JPEG."),
    ] = Path("demo.png"),
) -> None:
    """Find a man in a bundled group photo, on a private graph of the default models.

    Prints the best matches and draws them. Exit code: 0 the right man is found, 1 he is not, 2 it
    could not be done.

    Examples:

    <!-- not run: starts a graph of its own -->
    ```sh
    facegraph demo --out pair.png
    ```
    """
    print_progress("Starting the graph, which usually takes 15 to 30 s")
    # These load Ray.
    from graph.cluster.launch import own_graph
    from graph.cluster.serve_file import read_serve_file

    with own_graph(read_serve_file(SERVE_CONFIG), report=print_progress) as graph:
        is_right = show(graph.url, out)
        print_progress("Stopping the graph")
    if not is_right:
        raise typer.Exit(NO)


def show(url: str, out: Path) -> bool:
    """Let the server at `url` compare the photos; print and draw its answer. True if the best match
    is the right man."""
    from graph.commands.drawing import draw_comparison, read_served_photo, write_picture  # OpenCV

    source, target = bundled_photo("yaoming.jpg"), bundled_photo("players.jpg")
    print_progress(f"Comparing {source.name} with every face of {target.name}")
    with FaceGraph.over_http(url) as client:
        answer = client.compare(source, target, faces="all")
    _print(answer)
    photos = (
        read_served_photo(source, answer.images.source),
        read_served_photo(target, answer.images.target),
    )
    write_picture(out, draw_comparison(*photos, answer))
    console = stdout_console()
    console.print(f"Wrote {out}", markup=False)
    is_right = answer.matched and is_expected(answer.target)
    console.print("The match is the right man." if is_right else "The match is not the right man!")
    return is_right


def _print(answer: CompareResponse) -> None:
    rows = [
        (f"{match.similarity:.3f}", box_text(match.face), "yes" if match.matched else "no")
        for match in answer.matches[:SHOWN]
    ]
    title = f"Best of {len(answer.matches)} faces (threshold {answer.threshold:.2f})"
    print_table(("similarity", "box x1 y1 x2 y2", "matched"), rows, title=title)


def is_expected(face: Face) -> bool:
    """True for the face of yaoming.jpg's man in players.jpg."""
    distances = (abs(found - box) for found, box in zip(face.box, EXPECTED_BOX, strict=True))
    return max(distances) <= TOLERANCE_PX
