"""Drawing of faces into their photos."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.images.decode import read_photo
from graph.schemas import Face, ImageSize

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
