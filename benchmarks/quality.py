"""A recognizer's quality, fitted and tested: python -m benchmarks.quality [--photos FOLDER].

Each portrait's face is brought to 180 px and damaged in the ways of `DAMAGES`, detected again and
embedded. A version's target is the cosine of its embedding with that of the undamaged one; the
calibration is the least-squares fit of the logistic function in `configs/catalogue.py` to all of
them. The table's qualities come from five fits, each tested on the people that it left out.

Columns: versions in which a face was found; median target and quality; versions under the limit;
pairs of different people that match, all and both over the limit; the same of pairs of one person.
Photos that match undamaged count as one person's. Without a folder, the bundled photos show the
procedure (with --min-px 40); their few and small faces fit nothing to rely on.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness.results import report
from configs.limits import ImageLimits
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, DoubleArray, FloatArray, Photo
from deployments.detector import Detector, load_detector
from deployments.errors import FaceGraphError
from deployments.images.alignment import align
from deployments.images.decode import read_photo
from deployments.images.quality import sharpness
from deployments.recognizer.recognizer import Recognizer, l2_normalise, recognizer_from
from graph.bundled import PHOTOS, bundled_photo

FACE_PX, MARGIN, FOLDS = 180, 0.8, 5
MIN_SCORE, SAME_PHOTO = 0.95, 0.97  # of a detection; cosine from which two photos are one
RANDOM = np.random.default_rng(0)


def out_of_focus(image: ByteArray, size: int) -> ByteArray:
    """Every point becomes a disc, `size` pixels wide."""
    kernel = np.zeros((size, size), np.float32)
    return blurred(image, cv2.circle(kernel, (size // 2, size // 2), size // 2, 1.0, -1))


def moved(image: ByteArray, size: int) -> ByteArray:
    """Every point becomes a line, `size` pixels long, in a random direction."""
    centre, angle = size // 2, RANDOM.uniform(0, np.pi)
    x, y = round(centre * np.cos(angle)), round(centre * np.sin(angle))
    kernel = np.zeros((size, size), np.float32)
    ends = (centre - x, centre - y), (centre + x, centre + y)
    return blurred(image, cv2.line(kernel, *ends, 1.0, 1))


def blurred(image: ByteArray, kernel: Any) -> ByteArray:
    spread = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return bytes_of(spread)


def shrunk(image: ByteArray, face_px: int) -> ByteArray:
    share = face_px / FACE_PX
    return bytes_of(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA))


def enlarged(image: ByteArray, face_px: int, method: int = cv2.INTER_CUBIC) -> ByteArray:
    small = shrunk(image, face_px)
    return bytes_of(cv2.resize(small, image.shape[1::-1], interpolation=method))


def mosaic(image: ByteArray, blocks: int) -> ByteArray:
    return enlarged(image, blocks, cv2.INTER_NEAREST)


def compressed(image: ByteArray, quality: int) -> ByteArray:
    _, file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes_of(cv2.imdecode(file, cv2.IMREAD_COLOR))


def noisy(image: ByteArray, sigma: float) -> ByteArray:
    return bytes_of(image + RANDOM.normal(0, sigma, image.shape))


def bytes_of(values: Any) -> ByteArray:
    return np.asarray(np.clip(values, 0, 255), np.uint8)


DAMAGES: dict[str, Callable[[ByteArray], ByteArray]] = {
    "clear": lambda image: image,
    **{f"out of focus, {n} px": partial(out_of_focus, size=n) for n in (9, 15, 21, 27, 35, 45)},
    **{f"motion, {n} px": partial(moved, size=n) for n in (11, 21, 31, 41)},
    **{f"enlarged from {n} px": partial(enlarged, face_px=n) for n in (8, 12, 16, 20, 26, 36)},
    **{f"mosaic of {n} blocks": partial(mosaic, blocks=n) for n in (12, 16, 24, 32)},
    **{f"small, {n} px": partial(shrunk, face_px=n) for n in (20, 26, 32, 48)},
    **{f"JPEG, quality {n}": partial(compressed, quality=n) for n in (3, 6, 12)},
    **{f"noise, sigma {n}": partial(noisy, sigma=n) for n in (15, 30, 50)},
    "dark, gamma 3": lambda image: bytes_of(255 * (image / 255) ** 3),
    "dark, x 0.15": lambda image: bytes_of(image * 0.15),
    "dark, out of focus, 35 px": lambda image: bytes_of(out_of_focus(image, 35) * 0.15),
    "low contrast": lambda image: bytes_of(image * 0.25 + 150),
}


@dataclass(frozen=True)
class Versions:
    """Damaged versions of portraits, N in all.

    damage: index in DAMAGES, int [N]. portrait, person: int [N]. vectors: float32 [N,512], of
    length 1. features: float64 [N,3]: 1, ln length, ln sharpness. target: float64 [N].
    """

    damage: npt.NDArray[np.intp]
    portrait: npt.NDArray[np.intp]
    person: npt.NDArray[np.intp]
    vectors: FloatArray
    features: DoubleArray
    target: DoubleArray


def portraits(
    photos: Sequence[Path], detector: Detector, *, min_px: float, groups: bool
) -> Iterator[ByteArray]:
    """The surroundings of each face of at least `min_px`, at a face of 180 px.

    groups: photos of several faces count too.
    """
    for path in photos:
        try:
            image = read_photo(Photo("image", path.read_bytes()), ImageLimits())
        except FaceGraphError as error:
            print(f"{path}: {error.message}")
            continue
        found = detector.detect(image)
        for box, score in zip(found.boxes, found.scores, strict=True):
            side = float(np.sqrt(np.prod(box[2:] - box[:2])))
            if score < MIN_SCORE or side < min_px or (len(found) > 1 and not groups):
                continue
            low = np.maximum(box[:2] - MARGIN * side, 0).astype(int)
            high = (box[2:] + MARGIN * side).astype(int)
            part, share = image[low[1] : high[1], low[0] : high[0]], FACE_PX / side
            method = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
            yield bytes_of(cv2.resize(part, None, fx=share, fy=share, interpolation=method))


def chip_of(image: ByteArray, detector: Detector) -> ByteArray | None:
    """The chip [1,112,112,3] of the largest face."""
    found = detector.detect(image)
    if not len(found):
        return None
    largest = int(np.argmax(np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)))
    return align(image, found.landmarks[largest : largest + 1])


def versions_of(faces: Iterator[ByteArray], detector: Detector, recognizer: Recognizer) -> Versions:
    rows: list[tuple[int, int]] = []
    chips: list[ByteArray] = []
    for portrait, face in enumerate(faces):
        for damage, damaged in enumerate(DAMAGES.values()):
            chip = chip_of(damaged(face), detector)
            if chip is not None:
                rows.append((damage, portrait))
                chips.append(chip)
    pixels = np.concatenate(chips)
    raw = np.concatenate([recognizer.backend.run(chip)[0] for chip in chips])
    lengths = np.linalg.norm(raw, axis=1)
    features = np.stack([np.ones(len(raw)), np.log(lengths), np.log(sharpness(pixels))], axis=1)
    damage, portrait = np.asarray(rows, np.intp).T
    vectors = l2_normalise(raw)
    clear = {int(portrait[row]): vectors[row] for row in np.flatnonzero(damage == 0)}
    kept = kept_portraits(clear)
    people = people_of({one: clear[one] for one in kept}, recognizer.config.decision_threshold)
    used = np.isin(portrait, kept)
    person = np.asarray([people.get(int(one), -1) for one in portrait], np.intp)
    target = np.asarray(
        [
            vector @ clear.get(int(one), vector)
            for vector, one in zip(vectors, portrait, strict=True)
        ]
    )
    return Versions(
        damage[used], portrait[used], person[used], vectors[used], features[used], target[used]
    )


def kept_portraits(clear: dict[int, FloatArray]) -> list[int]:
    """Portraits without the copies of one photo."""
    kept: list[int] = []
    for portrait, vector in clear.items():
        if all(vector @ clear[other] < SAME_PHOTO for other in kept):
            kept.append(portrait)
    return kept


def people_of(clear: dict[int, FloatArray], threshold: float) -> dict[int, int]:
    """Each portrait's person, numbered by the person's first portrait."""
    people: dict[int, int] = {}
    for portrait, vector in clear.items():
        known = {people[other] for other in people if vector @ clear[other] >= threshold}
        people[portrait] = min(known, default=portrait)
        people = {one: people[portrait] if who in known else who for one, who in people.items()}
    return people


def fit(features: DoubleArray, target: DoubleArray) -> DoubleArray:
    """Weights float64 [3] of the logistic function, by Gauss and Newton's method."""
    centre, spread = features[:, 1:].mean(axis=0), features[:, 1:].std(axis=0)
    scaled = np.column_stack([features[:, 0], (features[:, 1:] - centre) / spread])
    weights, wanted = np.zeros(3), np.clip(target, 0, 1)
    for _ in range(50):
        found = logistic(scaled @ weights)
        slopes = scaled * (found * (1 - found))[:, None]
        square = slopes.T @ slopes + 1e-6 * np.eye(3)
        weights = weights + np.linalg.solve(square, slopes.T @ (wanted - found))
    slopes = weights[1:] / spread
    return np.asarray([weights[0] - slopes @ centre, *slopes])


def logistic(values: DoubleArray) -> DoubleArray:
    return np.asarray(1 / (1 + np.exp(-values)))


def left_out(versions: Versions) -> DoubleArray:
    """Quality of each version, by a fit without its person: float64 [N]."""
    quality = np.zeros(len(versions.target))
    people = np.random.default_rng(0).permutation(np.unique(versions.person))
    for fold in range(FOLDS):
        tested = np.isin(versions.person, people[fold::FOLDS])
        weights = fit(versions.features[~tested], versions.target[~tested])
        quality[tested] = logistic(versions.features[tested] @ weights)
    return quality


def row_of(
    name: str, versions: Versions, quality: DoubleArray, limit: float, threshold: float
) -> tuple[str, ...]:
    own = np.flatnonzero(versions.damage == list(DAMAGES).index(name))
    good = quality[own] >= limit
    first, second = np.triu_indices(len(own), 1)
    vectors, person = versions.vectors[own], versions.person[own]
    matched = (vectors @ vectors.T)[first, second] >= threshold
    different, decided = person[first] != person[second], good[first] & good[second]
    pairs = [
        f"{int((matched & kind & counted).sum())} of {int(kind.sum())}"
        for kind in (different, ~different)
        for counted in (np.ones_like(decided), decided)
    ]
    middle = [f"{np.median(values):.2f}" for values in (versions.target[own], quality[own])]
    return name, str(len(own)), *middle, str(int((~good).sum())), *pairs


def measure(folder: Path | None, config: RecognizerConfig, *, min_px: float, limit: float) -> None:
    detector, recognizer = load_detector(max_side=640), recognizer_from(config)
    photos = sorted(folder.iterdir()) if folder else [bundled_photo(name) for name in PHOTOS]
    faces = portraits(photos, detector, min_px=min_px, groups=folder is None)
    versions = versions_of(faces, detector, recognizer)
    quality, weights = left_out(versions), fit(versions.features, versions.target)
    error = float(np.sqrt(np.mean((quality - np.clip(versions.target, 0, 1)) ** 2)))
    names = ("intercept", "log_length", "log_sharpness")
    calibration = dict(zip(names, weights.round(3).tolist(), strict=True))
    count, people = len(np.unique(versions.portrait)), len(np.unique(versions.person))
    print(f"QualityCalibration({calibration}), root mean square error {error:.3f}")
    steps = np.clip((quality * 10).astype(int), 0, 9)
    means = [(step / 10 + 0.05, versions.target[steps == step].mean()) for step in np.unique(steps)]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.plot(*zip(*means, strict=True), marker="o")
        axes.set_xlabel("quality, by fits on other people")
        axes.set_ylabel("mean cosine with the clear face")

    report(
        "quality",
        f"Quality by {config.model}: {count} portraits of {people} people, limit {limit:g}",
        ("faces", "found", "cosine", "quality", "under limit", "different match", "decided",
         "same match", "decided"),
        [row_of(name, versions, quality, limit, config.decision_threshold) for name in DAMAGES],
        draw=draw,
        raw={"calibration": calibration, "error": error},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder; photos of one face count")
    parser.add_argument("--min-px", type=float, default=80, help="least side of a face")
    parser.add_argument("--model", default="arcface-mbf", help="catalogue id of the recognizer")
    parser.add_argument("--weights", type=Path, help="folder with the recognizer's files")
    parser.add_argument("--limit", type=float, default=0.5, help="min_quality to be tested")
    options = parser.parse_args()
    config = RecognizerConfig(model=options.model, weights=options.weights)
    measure(options.photos, config, min_px=options.min_px, limit=options.limit)


if __name__ == "__main__":
    main()
