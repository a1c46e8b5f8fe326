"""Coarse to fine beside a look at the whole photo: python -m benchmarks.coarse [--portraits FOLDER]

Both sides are the default detector, on one thread; `whole` has no coarse look. FOLDER holds a
folder of photos for each person; without it, the faces of the bundled photos are the portraits, one
a person.

The first table has scenes made from the portraits: `coarse` of them were settled by a coarse look,
`same face` have the same largest face on both sides or none, `same count` the same number of faces
of like size. `moved` is the distance of the five landmarks between the sides, in sizes of the face
and the 95 % quantile, and `cosine` the median of the embeddings. `whole moved` and `whole cosine`
are the same between whole looks at the photo and at nine tenths of its size.

The second table is about embeddings at several photo sizes, against that of the largest size by the
same side. The third has decisions on pairs of portraits, as benchmarks/field.py makes them, and
`changed` counts pairs that the sides decide otherwise.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from benchmarks.field import TREATMENTS, Graph, Portrait, portraits_of, turned
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
    FloatArray,
    Photo,
)
from deployments.detector.crops import cut_crops
from deployments.detector.detector import DetectionRequest, Detector, detector_from
from deployments.detector.postprocess import choose, count_alike, overlap
from deployments.images.alignment import align_crops
from deployments.images.decode import DecodedImage, read_photo
from deployments.recognizer import load_recognizer
from deployments.recognizer.recognizer import Recognizer
from graph.bundled import PHOTOS, bundled_photo

MODEL = "arcface-mbf"
OTHER_SIZE = 0.9  # of the photo as the whole look sees it
SAME_FACE = 0.5  # intersection over union
SIZES_PX = (320, 400, 640, 1000, 1600, 2500)  # longer sides of photos
SECOND_SIZES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.4)  # the second person's, in sizes of the first
TREATED = (
    "clear",
    "turned by 15",
    "turned by 90",
    "out of focus by 35 px",
    "motion blur of 41 px",
    "mosaic, 16 blocks a face",
    "brightness of 15 %",
)
Scene = Callable[[ByteArray, ByteArray], ByteArray]  # of a portrait and of another person's


@dataclass(frozen=True)
class Found:
    """The largest face's detection, or none; `alike` faces have about its size."""

    face: Detections
    alike: int
    coarse: bool
    took_ms: float


@dataclass(frozen=True)
class Side:
    detector: Detector
    recognizer: Recognizer

    def find(self, pixels: ByteArray) -> Found:
        began = time.thread_time()
        request = DetectionRequest(DecodedImage.whole(pixels), "largest")
        [first] = self.detector.detect_first_pass([request])
        faces = self.detector.detect_further(request, first)
        took_ms = (time.thread_time() - began) * 1000
        alike = count_alike(faces, self.detector.config.like_size)
        coarse = first.side == self.detector.config.coarse_side
        return Found(choose(faces, "largest"), alike, coarse, took_ms)

    def embed(self, pixels: ByteArray, face: Detections) -> Embeddings:
        crops = cut_crops(DecodedImage.whole(pixels), face.landmarks)
        return self.recognizer.embed(align_crops(crops, face.landmarks))

    def embedding(self, pixels: ByteArray) -> Embeddings:
        return self.embed(pixels, self.find(pixels).face)


@dataclass(frozen=True)
class Sides:
    coarse: Side
    whole: Side

    @staticmethod
    def loaded() -> "Sides":
        recognizer = load_recognizer(MODEL)
        loaded = detector_from(DetectorConfig())
        config = DetectorConfig(coarse_side=None)
        whole = Detector(config, model=loaded.model, backend=loaded.backend)
        return Sides(Side(loaded, recognizer), Side(whole, recognizer))

    def whole_at_other_size(self, pixels: ByteArray) -> Found:
        longer = max(pixels.shape[:2])
        side = round(OTHER_SIZE * self.whole.detector.first_pass_side(longer))
        found, scale = self.whole.find(resized(side, pixels)), np.float32(longer / side)
        face = found.face
        moved = Detections(face.boxes * scale, face.scores, face.landmarks * scale)
        return replace(found, face=moved)


def resized(longer_side: int, pixels: ByteArray) -> ByteArray:
    scale = longer_side / max(pixels.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=method).astype(np.uint8)


def amid(share: float, pixels: ByteArray) -> ByteArray:
    """The portrait in a larger photo of soft colours, of whose sides it takes a share."""
    height, width = pixels.shape[:2]
    rng = np.random.default_rng(height * width)
    size = round(width / share), round(height / share)
    colours = rng.integers(60, 190, (6, 8, 3)).astype(np.uint8)
    canvas = cv2.resize(colours, size).astype(np.uint8)
    left, top = (
        int(rng.integers(one - own + 1)) for one, own in zip(size, (width, height), strict=True)
    )
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def beside(size: float, pixels: ByteArray, other: ByteArray) -> ByteArray:
    """Both portraits side by side, the other one scaled."""
    other = cv2.resize(other, None, fx=size, fy=size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    height = max(len(pixels), len(other))
    canvas = np.full((height, pixels.shape[1] + other.shape[1], 3), 110, np.uint8)
    canvas[: len(pixels), : pixels.shape[1]] = pixels
    canvas[: len(other), pixels.shape[1] :] = other
    return canvas


def beside_turned(degrees: float, pixels: ByteArray, other: ByteArray) -> ByteArray:
    return beside(1.0, pixels, turned(degrees, other))


def cut(share: float, pixels: ByteArray) -> ByteArray:
    """The left part of a portrait, with a share of its width."""
    return np.ascontiguousarray(pixels[:, : round(pixels.shape[1] * share)])


def without_face(face: FloatArray, pixels: ByteArray) -> ByteArray:
    """The portrait with a grey box in place of the face's box, float32 [4]."""
    x1, y1, x2, y2 = np.maximum(face, 0).astype(int)
    covered: ByteArray = pixels.copy()
    covered[y1:y2, x1:x2] = 110
    return covered


def scenes(sides: Sides) -> dict[str, Scene]:
    def alone(change: Callable[[ByteArray], ByteArray]) -> Scene:
        return lambda pixels, other: change(pixels)

    def covered(pixels: ByteArray) -> ByteArray:
        for box in sides.whole.find(pixels).face.boxes:
            pixels = without_face(box, pixels)
        return pixels

    return {
        **{f"at {side} px": alone(partial(resized, side)) for side in SIZES_PX},
        **{
            f"{share:.0%} of a photo's sides": alone(partial(amid, share))
            for share in (0.7, 0.5, 0.3)
        },
        **{f"beside a person of {size:.0%}": partial(beside, size) for size in SECOND_SIZES},
        **{
            f"beside a person turned by {degrees}": partial(beside_turned, degrees)
            for degrees in (30, 90, 180)
        },
        **{f"turned by {degrees}": alone(partial(turned, degrees)) for degrees in (8, 20, 90, 180)},
        **{f"left {share:.0%}": alone(partial(cut, share)) for share in (0.7, 0.5)},
        **{name: alone(TREATMENTS[name]) for name in TREATED[3:]},
        "face covered": alone(covered),
    }


def distance(found: Detections, other: Detections) -> float:
    """Root mean square distance of two faces' landmarks, in sizes of the second."""
    size = np.sqrt((other.boxes[0, 2:] - other.boxes[0, :2]).prod())
    squares = np.square(found.landmarks[0] - other.landmarks[0]).sum(axis=1)
    return float(np.sqrt(squares.mean()) / size)


def is_same(found: Detections, other: Detections) -> bool:
    if not len(found) or not len(other):
        return len(found) == len(other)
    return overlap(found.boxes[0], other.boxes[0]) >= SAME_FACE


def scene_row(sides: Sides, photos: Sequence[ByteArray]) -> list[object]:
    found = [
        (
            pixels,
            sides.coarse.find(pixels),
            sides.whole.find(pixels),
            sides.whole_at_other_size(pixels),
        )
        for pixels in photos
    ]
    settled = [each for each in found if each[1].coarse and len(each[2].face) and len(each[3].face)]
    compared = [
        (
            distance(own.face, whole.face),
            _cosine(sides.whole, pixels, own, whole),
            distance(other.face, whole.face),
            _cosine(sides.whole, pixels, other, whole),
        )
        for pixels, own, whole, other in settled
        if is_same(own.face, whole.face) and is_same(other.face, whole.face)
    ]
    moved, cosine, other_moved, other_cosine = np.asarray(compared).reshape(-1, 4).T
    return [
        len(found),
        sum(own.coarse for _, own, _, _ in found),
        sum(is_same(own.face, whole.face) for _, own, whole, _ in found),
        sum(own.alike == whole.alike for _, own, whole, _ in found),
        *(
            [
                round(float(np.quantile(moved, 0.95)), 4),
                round(float(np.quantile(other_moved, 0.95)), 4),
                round(float(np.median(cosine)), 4),
                round(float(np.median(other_cosine)), 4),
            ]
            if len(compared)
            else ["-"] * 4
        ),
        f"{sum(own.took_ms for _, own, _, _ in found) / len(found):.1f}",
        f"{sum(whole.took_ms for _, _, whole, _ in found) / len(found):.1f}",
    ]


def _cosine(side: Side, pixels: ByteArray, one: Found, other: Found) -> float:
    return float(
        side.embed(pixels, one.face).vectors[0] @ side.embed(pixels, other.face).vectors[0]
    )


def scene_rows(sides: Sides, portraits: Sequence[Portrait]) -> Iterator[list[object]]:
    for name, scene in scenes(sides).items():
        pairs = zip(portraits, [*portraits[1:], portraits[0]], strict=True)
        photos = [scene(portrait.pixels, other.pixels) for portrait, other in pairs]
        yield [name, *scene_row(sides, photos)]
    for name in PHOTOS:
        pixels = read_photo(Photo("image", bundled_photo(name).read_bytes()), ImageLimits())
        yield [
            f"{name}, {len(SIZES_PX)} sizes",
            *scene_row(sides, [resized(side, pixels) for side in SIZES_PX]),
        ]


def report_scenes(sides: Sides, portraits: Sequence[Portrait]) -> None:
    rows = list(scene_rows(sides, portraits))
    columns = ("scene", "photos", "coarse", "same face", "same count", "moved", "whole moved")
    report(
        "coarse_scenes",
        "Coarse to fine beside a whole look",
        (*columns, "cosine", "whole cosine", "CPU ms", "whole CPU ms"),
        rows,
        draw=lambda axes: draw_bars(
            axes, [(str(row[0]), float(str(row[9]))) for row in rows], "CPU ms"
        ),
    )


def size_rows(sides: Sides, portraits: Sequence[Portrait]) -> Iterator[list[object]]:
    """By photo size: median and 5 % quantile of the cosine with the largest size's embedding."""
    for name, side in (("coarse to fine", sides.coarse), ("whole", sides.whole)):
        found = [
            [side.embedding(resized(size, each.pixels)).vectors for size in SIZES_PX]
            for each in portraits
        ]
        for size, vectors in zip(SIZES_PX[:-1], zip(*found, strict=True), strict=False):
            cosines = [
                float(one[0] @ own[-1][0])
                for one, own in zip(vectors, found, strict=True)
                if len(one) and len(own[-1])
            ]
            yield [
                size,
                name,
                len(cosines),
                *(round(float(np.quantile(cosines, at)), 4) for at in (0.5, 0.05, 0)),
            ]


def report_sizes(sides: Sides, portraits: Sequence[Portrait]) -> None:
    rows = list(size_rows(sides, portraits))
    report(
        "coarse_sizes",
        f"Embeddings of photos of several sizes against those at {SIZES_PX[-1]} px",
        ("longer side", "", "portraits", "median cosine", "5 % quantile", "lowest"),
        rows,
        draw=lambda axes: draw_bars(
            axes, [(f"{row[1]}, {row[0]} px", float(str(row[3]))) for row in rows], "median cosine"
        ),
    )


def rule() -> DecisionRule:
    model = CATALOGUE[MODEL]
    assert model.threshold is not None
    return DecisionRule(model.threshold, min_quality=model.min_quality)


def decided(source: Embeddings, target: Embeddings) -> tuple[str, float]:
    """The decision by the default rule, and the cosine."""
    if not len(source) or not len(target):
        return "no face", 0.0
    answer = compare([(source, target)], {source.recognizer: rule()}, AggregatorConfig())
    cosine = float(answer.scores[source.recognizer].cosine[0])
    if answer.uncertain[0]:
        return "uncertain", cosine
    return ("match" if answer.matched[0] else "mismatch"), cosine


def decision_rows(
    sides: Sides, portraits: Sequence[Portrait], most_pairs: int
) -> Iterator[list[object]]:
    pairs = list(combinations(range(len(portraits)), 2))
    people = [portrait.person for portrait in portraits]
    same = [pair for pair in pairs if people[pair[0]] == people[pair[1]]]
    different = [pair for pair in pairs if people[pair[0]] != people[pair[1]]]
    different = different[:: max(1, len(different) // most_pairs)]
    for name in TREATED:
        outcomes = []
        for side in (sides.coarse, sides.whole):
            clear = [side.embedding(portrait.pixels) for portrait in portraits]
            treated = [side.embedding(TREATMENTS[name](portrait.pixels)) for portrait in portraits]
            outcomes.append([decided(clear[a], treated[b]) for a, b in (*same, *different)])
        changed = sum(own[0] != other[0] for own, other in zip(*outcomes, strict=True))
        for side_name, found in zip(("coarse to fine", "whole"), outcomes, strict=True):
            own, others = found[: len(same)], found[len(same) :]
            yield [
                name,
                side_name,
                len(own),
                *_counts(own),
                round(float(np.mean([cosine for _, cosine in own] or [0])), 4),
                len(others),
                *_counts(others),
                round(float(np.quantile([cosine for _, cosine in others] or [0], 0.999)), 4),
                changed,
            ]


def _counts(found: Sequence[tuple[str, float]]) -> list[int]:
    decisions = [decision for decision, _ in found]
    return [decisions.count(decision) for decision in ("match", "mismatch", "uncertain")]


def report_decisions(sides: Sides, portraits: Sequence[Portrait], most_pairs: int) -> None:
    rows = list(decision_rows(sides, portraits, most_pairs))
    people = len({portrait.person for portrait in portraits})
    kinds = ("match", "mismatch", "uncertain")
    report(
        "coarse_decisions",
        f"Decisions on {len(portraits)} portraits of {people} people, one of each pair treated",
        (
            "treated",
            "",
            "same",
            *kinds,
            "mean cosine",
            "different",
            *kinds,
            "cosine, 99.9 %",
            "changed",
        ),
        rows,
        draw=lambda axes: draw_bars(
            axes, [(f"{row[0]}, {row[1]}", float(str(row[6]))) for row in rows], "mean cosine"
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portraits", type=Path, help="a folder of photos for each person")
    parser.add_argument("--pairs", type=int, default=4000, help="most pairs of different people")
    parser.add_argument(
        "--only", choices=("scenes", "sizes", "decisions"), help="one of the tables"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sides = Sides.loaded()
    graph = Graph(sides.whole.detector, sides.whole.recognizer, rule())
    portraits = portraits_of(options.portraits, graph)
    if options.only in (None, "scenes"):
        report_scenes(sides, portraits)
    if options.only in (None, "sizes"):
        report_sizes(sides, portraits)
    if options.only in (None, "decisions"):
        report_decisions(sides, portraits, options.pairs)


if __name__ == "__main__":
    main()
