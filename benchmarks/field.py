"""Photos of the field, before and after: python -m benchmarks.field [--portraits FOLDER]

Portraits are turned, blurred, pixelated and darkened, and pairs of them are decided without and
with the search for turned faces and the lowest quality, at the default threshold. FOLDER holds a
folder of photos for each person. Without it, the faces of the bundled photos are the portraits, one
a person; most are too small to count as clear.

Read `different, matched`: pairs of two people, both photos treated alike, that get a confident
match; and `same, missed`: pairs of one person's photos, one of them treated, that get a confident
mismatch. On `uncertain` pairs the graph does not decide. The second table is about groups: faces of
the portraits at known sizes in large photos, the faces found, those found that are none, and the
CPU time per megapixel, on one thread. Portraits that are cut off at the face have groups of their
own: in a photo, a face has hair, neck and surroundings.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.results import draw_bars, report
from configs.aggregator import AggregatorConfig
from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from deployments.aggregator.scoring import compare
from deployments.contracts import (
    ByteArray,
    DecisionRule,
    Detections,
    Embeddings,
    FaceChoice,
    Photo,
)
from deployments.detector.crops import cut_crops
from deployments.detector.detector import DetectionRequest, Detector, detector_from
from deployments.detector.postprocess import choose
from deployments.images.alignment import align_crops
from deployments.images.decode import DecodedImage, read_photo
from deployments.recognizer import load_recognizer
from deployments.recognizer.recognizer import Recognizer
from graph.bundled import PHOTOS, bundled_photo

FACE_PX = 180  # width of the face in every portrait
MODEL = "arcface-mbf"
SIZES_PX = (24, 28, 34, 48, 80, 160)
GROUP = (4000, 3000)  # width and height in pixels
FACES_OF_A_SIZE = 4
SURROUNDED = 1.5  # widths of the face that a portrait with surroundings has each way, at least
Treatment = Callable[[ByteArray], ByteArray]


@dataclass(frozen=True)
class Portrait:
    person: str
    pixels: ByteArray


@dataclass(frozen=True)
class Graph:
    """The stages of one side of the comparison, and its rule."""

    detector: Detector
    recognizer: Recognizer
    rule: DecisionRule

    def detect(self, pixels: ByteArray, faces: FaceChoice) -> Detections:
        request = DetectionRequest(DecodedImage.whole(pixels), faces)
        [first] = self.detector.detect_first_pass([request])
        return choose(self.detector.detect_further(request, first, max_batch_size=4), faces)

    def embed(self, pixels: ByteArray) -> Embeddings:
        """The largest face's embedding; none without a face."""
        faces = self.detect(pixels, "largest")
        crops = cut_crops(DecodedImage.whole(pixels), faces.landmarks)
        return self.recognizer.embed(align_crops(crops, faces.landmarks))

    def decide(self, source: Embeddings, target: Embeddings) -> str:
        if not len(source) or not len(target):
            return "no face"
        pair = [(source, target)]
        answer = compare(pair, {source.recognizer: self.rule}, AggregatorConfig())
        if answer.uncertain[0]:
            return "uncertain"
        return "match" if answer.matched[0] else "mismatch"


def both_sides() -> dict[str, Graph]:
    """`before`, without search for turned or small faces and without a lowest quality; `after`."""
    model, recognizer = CATALOGUE[MODEL], load_recognizer(MODEL)
    assert model.threshold is not None
    plain = DetectorConfig(turned_faces=False, max_tiles=0)
    return {
        "before": Graph(detector_from(plain), recognizer, DecisionRule(model.threshold)),
        "after": Graph(
            detector_from(DetectorConfig()),
            recognizer,
            DecisionRule(model.threshold, min_quality=model.min_quality),
        ),
    }


def turned(degrees: float, pixels: ByteArray) -> ByteArray:
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, int(degrees) // 90))
    height, width = pixels.shape[:2]
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    cosine, sine = np.abs(transform[0])[:2]
    size = int(height * sine + width * cosine), int(height * cosine + width * sine)
    transform[:, 2] = transform[:, 2] + (np.asarray(size) - (width, height)) / 2
    return cv2.warpAffine(pixels, transform, size, borderValue=(110, 110, 110)).astype(np.uint8)


def out_of_focus(diameter: int, pixels: ByteArray) -> ByteArray:
    disc = np.zeros((diameter, diameter), np.float32)
    cv2.circle(disc, (diameter // 2, diameter // 2), diameter // 2, 1.0, -1)
    return cv2.filter2D(pixels, -1, disc / disc.sum()).astype(np.uint8)


def in_motion(length: int, pixels: ByteArray) -> ByteArray:
    return cv2.blur(pixels, (length, 1)).astype(np.uint8)


def scaled_down_and_up(face_px: int, method: int, pixels: ByteArray) -> ByteArray:
    """The face shrunk to `face_px` and enlarged again by an interpolation of OpenCV."""
    height, width = pixels.shape[:2]
    scale = face_px / FACE_PX
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=method).astype(np.uint8)


def darkened(share: float, pixels: ByteArray) -> ByteArray:
    return (pixels * share).astype(np.uint8)


TREATMENTS: dict[str, Treatment] = {
    "clear": lambda pixels: pixels,
    **{f"turned by {degrees}": partial(turned, degrees) for degrees in range(15, 360, 15)},
    "out of focus by 35 px": partial(out_of_focus, 35),
    "out of focus by 45 px": partial(out_of_focus, 45),
    "motion blur of 41 px": partial(in_motion, 41),
    "face of 8 px, enlarged": partial(scaled_down_and_up, 8, cv2.INTER_CUBIC),
    "mosaic, 16 blocks a face": partial(scaled_down_and_up, 16, cv2.INTER_NEAREST),
    "brightness of 15 %": partial(darkened, 0.15),
}


def portraits_of(folder: Path | None, graph: Graph) -> list[Portrait]:
    if folder is None:
        photos = [(f"{name} {{}}", bundled_photo(name)) for name in PHOTOS]
        found = [(name, _cut_out(path, graph, "all")) for name, path in photos]
        return [
            Portrait(name.format(index), pixels)
            for name, faces in found
            for index, pixels in enumerate(faces)
        ]
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return [
        Portrait(path.parent.name, pixels)
        for path in files
        for pixels in _cut_out(path, graph, "largest")
    ]


def _cut_out(path: Path, graph: Graph, faces: FaceChoice) -> list[ByteArray]:
    """Each face of at least 40 px with its surroundings, resized to a width of FACE_PX."""
    pixels = read_photo(Photo("image", path.read_bytes()), ImageLimits())
    cut = []
    for x1, y1, x2, y2 in graph.detect(pixels, faces).boxes:
        if x2 - x1 < 40:
            continue
        margin = 1.2 * (x2 - x1)
        left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
        part = pixels[top : int(y2 + margin), left : int(x2 + margin)]
        scale = FACE_PX / (x2 - x1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        cut.append(
            cv2.resize(part, None, fx=scale, fy=scale, interpolation=method).astype(np.uint8)
        )
    return cut


def decisions(
    graph: Graph, portraits: Sequence[Portrait], treatment: Treatment, most_pairs: int
) -> dict[str, int]:
    """Counts of the decisions on different people and on the same person."""
    clear = [graph.embed(portrait.pixels) for portrait in portraits]
    treated = [graph.embed(treatment(portrait.pixels)) for portrait in portraits]
    places = range(len(portraits))
    pairs = [(a, b) for a, b in combinations(places, 2)]
    people = [portrait.person for portrait in portraits]
    different = [pair for pair in pairs if people[pair[0]] != people[pair[1]]]
    step = max(1, len(different) // most_pairs)
    others = [graph.decide(treated[a], treated[b]) for a, b in different[::step]]
    own = [graph.decide(clear[a], treated[a]) for a in places]
    own += [graph.decide(clear[a], treated[b]) for a, b in pairs if people[a] == people[b]]
    return {
        "different": len(others),
        "different matched": others.count("match"),
        "different uncertain": others.count("uncertain"),
        "same": len(own),
        "same missed": own.count("mismatch"),
        "same uncertain": own.count("uncertain"),
        "no face": own.count("no face"),
    }


def group_of(portraits: Sequence[Portrait]) -> Iterator[tuple[int, ByteArray, ByteArray]]:
    """For each size: a group photo uint8 [H,W,3] and the places of its faces, float [N,4]."""
    rng = np.random.default_rng(0)
    width, height = GROUP
    for size in SIZES_PX:
        canvas = cv2.resize(rng.integers(60, 190, (12, 16, 3)).astype(np.uint8), GROUP)
        places = []
        for index in range(FACES_OF_A_SIZE * FACES_OF_A_SIZE):
            portrait = portraits[int(rng.integers(len(portraits)))].pixels
            scale = size / FACE_PX
            small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            left = index % 4 * width // 4 + int(rng.integers(width // 4 - small.shape[1]))
            top = index // 4 * height // 4 + int(rng.integers(height // 4 - small.shape[0]))
            canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
            places.append((left, top, left + small.shape[1], top + small.shape[0]))
        yield size, canvas.astype(np.uint8), np.asarray(places)


def search(graph: Graph, portraits: Sequence[Portrait]) -> list[tuple[int, int, int, int, float]]:
    """By size: faces there, found, found that are none, and CPU milliseconds per megapixel."""
    rows = []
    for size, pixels, places in group_of(portraits):
        began = time.process_time()
        boxes = graph.detect(pixels, "all").boxes
        took_ms = (time.process_time() - began) * 1000
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = (middles[:, None] > places[:, :2]).all(axis=2)
        inside &= (middles[:, None] < places[:, 2:]).all(axis=2)
        found = int(inside.any(axis=0).sum())
        rows.append((size, len(places), found, len(boxes) - found, took_ms / (pixels.size / 3e6)))
    return rows


def report_decisions(
    sides: dict[str, Graph], portraits: Sequence[Portrait], most_pairs: int
) -> None:
    counted = {
        (name, side): decisions(graph, portraits, treatment, most_pairs)
        for name, treatment in TREATMENTS.items()
        for side, graph in sides.items()
    }
    people = len({portrait.person for portrait in portraits})
    kinds = next(iter(counted.values()))
    report(
        "field_decisions",
        f"Decisions on {len(portraits)} portraits of {people} people",
        ("treated", "", *kinds),
        [[*key, *counts.values()] for key, counts in counted.items()],
        draw=lambda axes: draw_bars(
            axes,
            [(", ".join(key), counts["different matched"]) for key, counts in counted.items()],
            "different matched",
        ),
    )


def report_groups(sides: dict[str, Graph], portraits: Sequence[Portrait]) -> None:
    surrounded = [min(each.pixels.shape[:2]) >= SURROUNDED * FACE_PX for each in portraits]
    kinds = {
        kind: [each for each, is_so in zip(portraits, surrounded, strict=True) if is_so == wanted]
        for kind, wanted in (("with surroundings", True), ("cut off at the face", False))
    }
    found = [
        (side, kind, row)
        for side, graph in sides.items()
        for kind, some in kinds.items()
        if some
        for row in search(graph, some)
    ]
    report(
        "field_groups",
        f"Faces of {len(SIZES_PX)} sizes in photos of {GROUP[0]} x {GROUP[1]} pixels",
        (
            "",
            "portraits",
            "face px",
            "faces",
            "found",
            "found that are none",
            "CPU ms per megapixel",
        ),
        [[side, kind, *row[:4], round(row[4], 1)] for side, kind, row in found],
        draw=lambda axes: draw_bars(
            axes, [(f"{side}, {kind}, {row[0]} px", row[2]) for side, kind, row in found], "found"
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portraits", type=Path, help="a folder of photos for each person")
    parser.add_argument("--pairs", type=int, default=1000, help="most pairs of different people")
    parser.add_argument("--only", choices=("decisions", "groups"), help="one of the tables")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sides = both_sides()
    portraits = portraits_of(arguments.portraits, sides["after"])
    if arguments.only != "groups":
        report_decisions(sides, portraits, arguments.pairs)
    if arguments.only != "decisions":
        report_groups(sides, portraits)


if __name__ == "__main__":
    main()
