"""`make demo`: compares two bundled photos on a private graph, prints a table, draws a picture."""

import sys
from pathlib import Path

import cv2
import numpy as np

from configs.limits import ImageLimits
from configs.shipped import SERVE_CONFIG
from deployments.contracts import ByteArray, Photo
from deployments.images.decode import read_photo
from graph.bundled import bundled_photo
from graph.client.client import FaceGraph
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from graph.commands.drawing import GREEN, GREY, mark_box
from graph.commands.photos import box_text
from graph.commands.terminal import FAILED, NO, print_error, print_table, stdout_console
from graph.schemas import CompareResponse, Face

PICTURE = Path("demo.png")
SHOWN = 5
# Box of the man of yaoming.jpg in players.jpg: x1 y1 x2 y2 in pixels.
EXPECTED_BOX = (720.0, 139.0, 763.0, 191.0)
TOLERANCE_PX = 8.0


def main() -> int:
    try:
        source, target = bundled_photo("yaoming.jpg"), bundled_photo("players.jpg")
    except FileNotFoundError as error:
        print_error(str(error))
        return FAILED
    console = stdout_console()
    console.print("Starting the graph (detector, aligner, recognizer, aggregator) ...")
    with own_graph(read_serve_file(SERVE_CONFIG)) as graph:
        console.print(f"Comparing {source.name} with every face of {target.name} at {graph.url}")
        with FaceGraph.over_http(graph.url) as client:
            answer = client.compare(source, target, faces="all")
    _print(answer)
    cv2.imwrite(str(PICTURE), draw(_pixels(source), _pixels(target), answer))
    console.print(f"Wrote {PICTURE}")
    found = answer.matched and _is_expected(answer.target)
    console.print("The match is the right man." if found else "The match is not the right man!")
    return 0 if found else NO


def draw(source: ByteArray, target: ByteArray, answer: CompareResponse) -> ByteArray:
    """Both photos side by side, uint8 [H,W,3] BGR, with every box and a line between the source's
    face and its best match."""
    height = max(source.shape[0], target.shape[0])
    canvas = np.full((height, source.shape[1] + target.shape[1], 3), 255, np.uint8)
    top = (height - source.shape[0]) // 2
    canvas[top : top + source.shape[0], : source.shape[1]] = source
    canvas[: target.shape[0], source.shape[1] :] = target
    right = source.shape[1]
    for match in reversed(answer.matches):
        mark_box(canvas, match.face, offset=(right, 0), colour=GREEN if match.matched else GREY)
    mark_box(canvas, answer.source, offset=(0, top))
    start, end = _centre(answer.source, (0, top)), _centre(answer.target, (right, 0))
    cv2.line(canvas, start, end, GREEN, 2, cv2.LINE_AA)
    label = f"{answer.similarity:.3f} {'matched' if answer.matched else 'not matched'}"
    _label(canvas, label, (int(end[0]), int(end[1]) - 45))
    return canvas


def _pixels(path: Path) -> ByteArray:
    return read_photo(Photo(path.name, path.read_bytes()), ImageLimits())


def _print(answer: CompareResponse) -> None:
    rows = [
        (f"{match.similarity:.3f}", box_text(match.face), "yes" if match.matched else "no")
        for match in answer.matches[:SHOWN]
    ]
    title = f"Best of {len(answer.matches)} faces (threshold {answer.threshold:.2f})"
    print_table(("similarity", "box x1 y1 x2 y2", "matched"), rows, title=title)


def _is_expected(face: Face) -> bool:
    return bool(np.abs(np.subtract(face.box, EXPECTED_BOX)).max() <= TOLERANCE_PX)


def _centre(face: Face, offset: tuple[int, int]) -> tuple[int, int]:
    x1, y1, x2, y2 = face.box
    return round((x1 + x2) / 2 + offset[0]), round((y1 + y2) / 2 + offset[1])


def _label(canvas: ByteArray, text: str, at: tuple[int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)
    x, y = min(at[0], canvas.shape[1] - width - 8), at[1]
    cv2.rectangle(canvas, (x - 6, y - height - 8), (x + width + 6, y + 8), GREEN, cv2.FILLED)
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2, cv2.LINE_AA)


if __name__ == "__main__":
    sys.exit(main())
