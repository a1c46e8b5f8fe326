"""Drawing of faces into their photos."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.images.decode import read_photo
from graph.schemas import CompareResponse, Face, ImageSize

GREEN, GREY, ORANGE = (80, 200, 60), (170, 170, 170), (40, 140, 255)  # BGR
# A line's width as a fraction of the photo's longer side.
_LINE = 1 / 500


def read_served_photo(path: Path, size: ImageSize) -> ByteArray:
    """Read a photo that a graph has taken, whatever that graph's limits; returns uint8 [H,W,3] BGR.

    size: of the photo, from the graph's answer.
    """
    content = path.read_bytes()
    limits = ImageLimits(
        max_bytes=max(1024, len(content)), max_pixels=max(1024, size.width * size.height)
    )
    return read_photo(Photo(path.name, content), limits)


def mark_faces(image: ByteArray, faces: Sequence[Face]) -> ByteArray:
    """A copy of the image, uint8 [H,W,3] BGR, with every face's box, landmarks and score."""
    marked: ByteArray = image.copy()
    line = max(1, round(max(image.shape) * _LINE))
    for face in faces:
        mark_box(marked, face, line=line)
        for x, y in face.landmarks:
            cv2.circle(marked, (round(x), round(y)), line, ORANGE, cv2.FILLED, cv2.LINE_AA)
        x1, y1 = round(face.box[0]), round(face.box[1])
        at, size = (x1, max(y1 - 2 * line, 10)), 0.4 * line
        text = f"{face.score:.2f}"
        cv2.putText(marked, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, GREEN, line, cv2.LINE_AA)
    return marked


def mark_box(
    canvas: ByteArray,
    face: Face,
    *,
    offset: tuple[int, int] = (0, 0),
    colour: tuple[int, int, int] = GREEN,
    line: int = 2,
) -> None:
    """Draw a face's box into `canvas`, uint8 [H,W,3] BGR, in place.

    offset: x, y in pixels of the photo's upper left corner in the canvas. colour: BGR. line: width
    in pixels.
    """
    x1, y1, x2, y2 = (round(value + offset[index % 2]) for index, value in enumerate(face.box))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line)


def write_picture(picture: Path, pixels: ByteArray) -> None:
    """Write uint8 [H,W,3] BGR as PNG or JPEG, by the file's suffix; raises OSError."""
    if not cv2.imwrite(str(picture), pixels):
        raise OSError(None, "cannot be written", str(picture))


def draw_comparison(source: ByteArray, target: ByteArray, answer: CompareResponse) -> ByteArray:
    """Both photos side by side, uint8 [H,W,3] BGR, with every box and a line between the source's
    face and its best match."""
    canvas, top, right = _side_by_side(source, target)
    for match in reversed(answer.matches):
        mark_box(canvas, match.face, offset=(right, 0), colour=GREEN if match.matched else GREY)
    label = f"{answer.similarity:.3f} {'matched' if answer.matched else 'not matched'}"
    _connect(canvas, answer.source, (0, top), answer.target, (right, 0), label)
    return canvas


def draw_search(
    photo: ByteArray,
    group: ByteArray,
    searched: Face,
    enrolled: Sequence[Face],
    found: Face,
    label: str,
) -> ByteArray:
    """A photo beside the one whose faces are enrolled, uint8 [H,W,3] BGR, with every box and a line
    between the searched face and the one that is found."""
    canvas, top, right = _side_by_side(photo, group)
    for face in enrolled:
        mark_box(canvas, face, offset=(right, 0), colour=GREY)
    mark_box(canvas, found, offset=(right, 0))
    _connect(canvas, searched, (0, top), found, (right, 0), label)
    return canvas


def _side_by_side(left: ByteArray, right: ByteArray) -> tuple[ByteArray, int, int]:
    """Both photos on one canvas, the y of the left one's top, and the x of the right one."""
    height = max(left.shape[0], right.shape[0])
    canvas = np.full((height, left.shape[1] + right.shape[1], 3), 255, np.uint8)
    top = (height - left.shape[0]) // 2
    canvas[top : top + left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] :] = right
    return canvas, top, left.shape[1]


def _connect(
    canvas: ByteArray,
    source: Face,
    source_offset: tuple[int, int],
    target: Face,
    target_offset: tuple[int, int],
    label: str,
) -> None:
    """Draw the source's box, a line from it to the target, and the label above the target."""
    mark_box(canvas, source, offset=source_offset)
    start, end = _centre(source, source_offset), _centre(target, target_offset)
    cv2.line(canvas, start, end, GREEN, 2, cv2.LINE_AA)
    _label(canvas, label, (int(end[0]), int(end[1]) - 45))


def _centre(face: Face, offset: tuple[int, int]) -> tuple[int, int]:
    x1, y1, x2, y2 = face.box
    return round((x1 + x2) / 2 + offset[0]), round((y1 + y2) / 2 + offset[1])


def _label(canvas: ByteArray, text: str, at: tuple[int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)
    x, y = min(at[0], canvas.shape[1] - width - 8), at[1]
    cv2.rectangle(canvas, (x - 6, y - height - 8), (x + width + 6, y + 8), GREEN, cv2.FILLED)
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2, cv2.LINE_AA)
