"""Proposes a catalogue entry for an ONNX file, by its layout and its answers on bundled photos."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from configs.catalogue import (
    ARCFACE_CHIP,
    DETECTOR_PREPROCESSING,
    SCRFD_PREPROCESSING,
    YUNET_PREPROCESSING,
    Model,
    Preprocessing,
)
from configs.detector import DetectorConfig
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.detector.detector import Detector, detector_from, load_detector
from deployments.detector.scrfd import ScrfdLayout
from deployments.detector.yunet import read_size
from deployments.errors import InvalidWeights
from deployments.images.alignment import align
from deployments.inference.onnx_layout import read_layout
from deployments.recognizer.recognizer import load_recognizer, recognizer_from
from deployments.weights.checksums import file_digest
from graph.bundled import PHOTOS, bundled_photo
from graph.evaluation.classifier_proposal import NOTHING_TOLD, Told, classifier_model

# The normalisations that published networks use, the most frequent ones first.
USUAL: Mapping[str, Preprocessing] = {
    f"({'RGB' if rgb else 'BGR'} - {mean:g}) / {scale:g}": Preprocessing(
        mean=(mean, mean, mean), scale=scale, rgb=rgb
    )
    for mean, scale in ((127.5, 127.5), (127.5, 128.0), (0.0, 1.0), (0.0, 255.0))
    for rgb in (True, False)
}
# Another normalisation must part the people by so much more, in cosine, to come before a more
# frequent one.
_CLEARLY = 0.02
# Shorter side of a face's box from which its embedding tells people apart, in pixels.
_LEAST_PX = 24
# Faces that each normalisation is tried on: 135 pairs of different people.
_CHIPS = 17
# Networks that give fewer numbers of a face are classifiers.
_LEAST_EMBEDDING = 64
_INSIGHTFACE = "weights by InsightFace: non-commercial research only"
# Files of InsightFace's packs (buffalo_l, buffalo_m, buffalo_s, antelopev2), without suffix.
_PACK_FILES = {
    "det_10g": "SCRFD, 10 billion operations, of InsightFace's packs",
    "det_2.5g": "SCRFD, 2.5 billion operations, of InsightFace's packs",
    "det_500m": "SCRFD, 500 million operations, of InsightFace's packs",
    "scrfd_10g_bnkps": "SCRFD, 10 billion operations, of InsightFace's packs",
    "scrfd_500m_bnkps": "SCRFD, 500 million operations, of InsightFace's packs",
    "w600k_r50": "IResNet-50, ArcFace, WebFace600K, of InsightFace's packs",
    "w600k_mbf": "MobileFaceNet, ArcFace, WebFace600K, of InsightFace's packs",
    "glintr100": "IResNet-100, ArcFace, Glint360K, of InsightFace's packs",
}


# SFace of OpenCV Zoo, which publishes its licence and its threshold.
_SFACE = {
    "title": "SFace, of OpenCV Zoo",
    "licence": "Apache-2.0 (OpenCV Zoo)",
    "commercial_use": True,
}
# YuNet of OpenCV Zoo.
_YUNET = {"title": "YuNet, of OpenCV Zoo", "licence": "MIT (OpenCV Zoo)", "commercial_use": True}
_YUNET_NAME = "face_detection_yunet_"
_SFACE_NAME = "face_recognition_sface_"
_SFACE_THRESHOLD = {"threshold": 0.363, "threshold_source": "published by OpenCV Zoo with SFace"}


@dataclass(frozen=True)
class Trial:
    """A normalisation's cosines on the bundled photos: of the one pair of photos of one person, and
    the highest and the mean of different people."""

    name: str
    same: float
    highest: float
    mean: float

    @property
    def margin(self) -> float:
        return self.same - self.highest


@dataclass(frozen=True)
class Proposal:
    """An entry, and the trials that led to a recognizer's normalisation, best first."""

    model: Model
    trials: tuple[Trial, ...] = ()


def propose(path: Path, *, model_id: str | None = None, told: Told = NOTHING_TOLD) -> Proposal:
    """The entry of an ONNX file, which becomes a detector's, a recognizer's or a classifier's.

    model_id: None takes the file's name. told: of a classifier, which a file with labels is. Raises
    InvalidWeights if the file is none of them, if it parts no people with any usual normalisation,
    or if something of a classifier is not known.
    """
    entry = {
        "id": model_id or _id_of(path),
        "weights_file": str(path.resolve()),
        "sha256": file_digest(path),
        **_published(path.stem),
    }
    side, count = _picture_to_numbers(path)
    if count and (told.labels or count < _LEAST_EMBEDDING):
        return Proposal(classifier_model(path, entry, side, count, told))
    if count is None or side not in (ARCFACE_CHIP.size, None):
        return Proposal(_detector(path, entry))
    if path.stem.startswith(_SFACE_NAME):
        entry |= _SFACE_THRESHOLD
    return _recognizer(path, {**entry, "kind": "recognizer", "embedding_size": count})


def _published(stem: str) -> dict[str, object]:
    """Title, licence and commercial use of a file, by its published name."""
    if stem in _PACK_FILES:
        return {"title": _PACK_FILES[stem], "licence": _INSIGHTFACE, "commercial_use": False}
    if stem.startswith(_SFACE_NAME):
        return _SFACE
    if stem.startswith(_YUNET_NAME):
        return _YUNET
    return {"title": f"{stem}, added by its file", "licence": "not stated: see the file's source"}


def _id_of(path: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "own"


def _picture_to_numbers(path: Path) -> tuple[int | None, int | None]:
    """The side of the square picture that the file takes, None for any, and the numbers that it
    gives for one; None for a file that gives something else."""
    inputs, outputs = read_layout(path, where=str(path))
    shapes = [one.shape for one in (*inputs, *outputs)]
    if len(inputs) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
        raise InvalidWeights(f"{path}: expected one input [N,3,H,W], found {shapes[: len(inputs)]}")
    height, width = shapes[0][2:]
    if len(shapes) != 2 or height != width or len(shapes[1]) != 2:
        return None, None
    return height, shapes[1][1]


def _detector(path: Path, entry: Mapping[str, object]) -> Model:
    """The entry of the family whose detector finds the bundled portrait's one face."""
    family, preprocessing = _family(path)
    model = Model.model_validate(
        {**entry, "kind": "detector", "family": family, "preprocessing": preprocessing}
    )
    config = DetectorConfig(own_models={model.id: model}, model=model.id)
    try:
        found = len(detector_from(config).detect(_photo(PHOTOS[0])))
    except Exception as error:  # a file of another network fails anywhere on its way
        raise InvalidWeights(
            f"{path}: neither a recognizer of 112 x 112 pixels nor {family}: {error}"
        ) from error
    if found != 1:
        raise InvalidWeights(f"{path}: as {family} it finds {found} faces in a portrait of one")
    return model


def _family(path: Path) -> tuple[str, Preprocessing]:
    """The family whose layout the file has, and the normalisation of its published files."""
    for family, read, preprocessing in (
        ("scrfd", ScrfdLayout.read, SCRFD_PREPROCESSING),
        ("yunet", read_size, YUNET_PREPROCESSING),
    ):
        with suppress(InvalidWeights):
            read(path, where=str(path))
            return family, preprocessing
    return "retinaface", DETECTOR_PREPROCESSING


def _recognizer(path: Path, entry: Mapping[str, object]) -> Proposal:
    start = {"threshold": 0.0, "threshold_source": "not yet chosen"}
    trials = []
    for name, preprocessing in USUAL.items():
        model = Model.model_validate({**start, **entry, "preprocessing": preprocessing})
        config = RecognizerConfig(
            own_models={model.id: model}, model=model.id, runtime="onnxruntime"
        )
        trials.append(_trial(name, recognizer_from(config).embed(_chips()).vectors))
    best = max(trial.margin for trial in trials)
    chosen = next(trial for trial in trials if trial.margin > best - _CLEARLY)
    if chosen.margin <= 0:
        raise InvalidWeights(
            f"{path}: no usual normalisation parts the people of the bundled photos; best:"
            f" {chosen.name}, one person {chosen.same:.3f}, different people up to"
            f" {chosen.highest:.3f}"
        )
    threshold = {
        "threshold": round((chosen.same + chosen.highest) / 2, 2),
        "threshold_source": (
            f"starting value: between the highest cosine of different people ({chosen.highest:.3f})"
            f" and the one true pair ({chosen.same:.3f}) of the bundled photos; choose your own on"
            " your own pairs"
        ),
    }
    model = Model.model_validate({**threshold, **entry, "preprocessing": USUAL[chosen.name]})
    others = sorted((one for one in trials if one is not chosen), key=lambda one: -one.margin)
    return Proposal(model, (chosen, *others))


def _trial(name: str, vectors: FloatArray) -> Trial:
    """vectors: float32 [N,D] of `_chips`, of which the first two show one person."""
    cosines = vectors @ vectors.T
    different = np.triu(np.ones_like(cosines, dtype=np.bool_), k=1)
    different[0, 1] = False
    others = cosines[different]
    return Trial(name, float(cosines[0, 1]), float(others.max()), float(others.mean()))


@cache
def _chips() -> ByteArray:
    """Chips of the bundled photos' faces, uint8 [N,112,112,3]: first those of one person."""
    detector = load_detector(max_side=640)
    chips = np.concatenate([_chips_of(detector, _photo(name)) for name in PHOTOS])
    # The only face of the first photo comes again among the players.
    vectors = load_recognizer().embed(chips).vectors
    again = 1 + int(np.argmax(vectors[1:] @ vectors[0]))
    order = [0, again, *(index for index in range(1, len(chips)) if index != again)]
    return chips[order][:_CHIPS]


def _chips_of(detector: Detector, image: ByteArray) -> ByteArray:
    found = detector.detect(image)
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    return align(image, found.landmarks[sides >= _LEAST_PX])


def _photo(name: str) -> ByteArray:
    path = bundled_photo(name)
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise FileNotFoundError(path)
    return pixels.astype(np.uint8, copy=False)
