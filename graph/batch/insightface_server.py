"""A collection of an InsightFace Server, read from its SQLite file.

The server answers no stored embeddings, and keeps no photos. Its file has the embeddings, and a
digest of the two models that made them, from which `recognizer_of` finds the recognizer's file. If
the collection says so, it has a crop of each face's box too, stretched to a square of 112 pixels.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pybase64

from deployments.errors import InvalidImage, InvalidRequest
from graph.batch.enrolment import PersonPhoto, PersonPhotos, person_id

# SHA-256 of the files in the packs that the server installs.
_DETECTORS = (
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",  # det_10g.onnx
    "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",  # det_2.5g.onnx
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",  # det_500m.onnx
)
_RECOGNIZERS = (
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",  # w600k_r50.onnx
    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",  # w600k_mbf.onnx
    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",  # glintr100.onnx
)
_COLLECTIONS = """
SELECT id, model_id, model_version, model_digest,
    (SELECT count(*) FROM persons WHERE collection_id = collections.id) AS persons
FROM collections
"""
_PERSONS = """
SELECT persons.id AS person, name, external_id, metadata_json, persons.created_at AS added_at,
    faces.id AS face, embedding, bounding_box_json, detection_score, model_digest,
    embedding_source, faces.created_at AS enrolled_at
FROM persons LEFT JOIN face_samples AS faces
    ON faces.collection_id = persons.collection_id AND faces.person_id = persons.id
WHERE persons.collection_id = ? ORDER BY persons.id, faces.created_at, faces.id
"""
_CROPS = """
SELECT person_id AS person, id AS face, crop_image IS NOT NULL AS is_kept FROM face_samples
WHERE collection_id = ? ORDER BY person_id, created_at, id
"""
_CROP = "SELECT crop_image, bounding_box_json FROM face_samples WHERE id = ?"
# The longer side of an enlarged crop in pixels, and the grey around it, which detectors need.
_CROP_SIDE, _BORDER, _GREY = 224, 112, 127


@dataclass(frozen=True)
class RefusedFace:
    """A face that is not carried over."""

    id: str
    reason: str


@dataclass(frozen=True)
class CollectionPerson:
    """A person of a collection. line: the person's in NDJSON, as a gallery's import takes it, with
    all faces but the refused ones."""

    id: str
    line: bytes
    refused: tuple[RefusedFace, ...]


@dataclass(frozen=True)
class Collection:
    """A collection of a server's file.

    models: their name and version, as the server has them; digest: theirs. count: of the persons.
    """

    file: Path
    id: str
    models: str
    digest: str
    count: int

    def persons(self, *, faces: bool = True) -> Iterator[CollectionPerson]:
        """The persons as they were at one moment; a server may write meanwhile.

        A face by other models than the collection's is refused, and one whose embedding a client
        brought. faces: False leaves all of them out. Raises InvalidRequest.
        """
        with _opened(self.file) as connection:
            rows = connection.execute(_PERSONS, (self.id,))
            for _, group in groupby(rows, lambda row: str(row["person"])):
                of_person = list(group)
                # A person without a face has one row, whose face is null.
                own = [row for row in of_person if faces and row["face"]]
                yield self._person(_facts(of_person[0]), own)

    def _person(self, person: dict[str, Any], rows: Iterable[sqlite3.Row]) -> CollectionPerson:
        faces, refused = [], []
        for row in rows:
            if reason := self._refusal(row):
                refused.append(RefusedFace(row["face"], reason))
            else:
                faces.append(_face(row))
        line = json.dumps({**person, "faces": faces}).encode() + b"\n"
        return CollectionPerson(person["person"], line, tuple(refused))

    def crops(self) -> tuple[dict[str, PersonPhotos], list[str]]:
        """The kept crops by a person's id, and the faces of which none is kept. Raises
        InvalidRequest."""
        photos: dict[str, list[PersonPhoto]] = {}
        missing: list[str] = []
        with _opened(self.file) as connection:
            for person, face, is_kept in connection.execute(_CROPS, (self.id,)):
                name = f"{person}/{face}"
                if is_kept:
                    photo = PersonPhoto(name, partial(self._crop, face))
                    photos.setdefault(person_id(person), []).append(photo)
                else:
                    missing.append(name)
        return {person: PersonPhotos(own) for person, own in photos.items()}, missing

    def _crop(self, face: str) -> bytes:
        with _opened(self.file) as connection:
            crop, box = connection.execute(_CROP, (face,)).fetchone()
        return upright_crop(crop, box)

    def _refusal(self, row: sqlite3.Row) -> str | None:
        if row["embedding_source"] != "server":
            return "a client brought its embedding: nothing proves which model made it"
        if row["model_digest"] != self.digest:
            return "its embedding is by other models than the collection's"
        return None


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Raises InvalidRequest, also for what the block reads."""
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection
    except sqlite3.Error as error:
        raise InvalidRequest(
            f"{file}: not the database of an InsightFace Server 0.2: {error}", field="database"
        ) from error


def read_collection(file: Path, id: str) -> Collection:
    """Raises InvalidRequest for a file of something else, and for a collection that it lacks."""
    with _opened(file) as connection:
        found = {row["id"]: row for row in connection.execute(_COLLECTIONS)}
    if id not in found:
        there = ", ".join(found) or "none"
        raise InvalidRequest(f"{file}: no collection {id!r}; there are {there}", field="collection")
    row = found[id]
    models = f"{row['model_id']} {row['model_version']}"
    return Collection(file, id, models, row["model_digest"], row["persons"])


def recognizer_of(digest: str, files: Iterable[str] = ()) -> str | None:
    """The SHA-256 of the recognizer's file, from a collection's digest; None for unknown models.

    files: SHA-256, in hex, of models beside those of InsightFace's packs. The digest is also that
    of the models' preprocessing, which is InsightFace's if a recognizer is found.
    """
    others = tuple(files)
    pairs = product((*_DETECTORS, *others), (*_RECOGNIZERS, *others))
    return next((last for first, last in pairs if models_digest(first, last) == digest), None)


def models_digest(detector: str, recognizer: str) -> str:
    """The server's digest of two models with InsightFace's preprocessing, from the SHA-256 of their
    files."""
    models = [
        _identity(detector, "insightface-scrfd-1", side=640, scale=128.0),
        _identity(recognizer, "insightface-arcface-1", side=112, scale=127.5),
    ]
    text = json.dumps(models, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(sha256: str, preprocessing: str, *, side: int, scale: float) -> dict[str, Any]:
    return {
        "sha256": sha256,
        "input_size": [side, side],
        "input_mean": 127.5,
        "input_std": scale,
        "preprocessing_version": preprocessing,
    }


def _facts(row: sqlite3.Row) -> dict[str, Any]:
    facts = json.loads(row["metadata_json"])
    if row["external_id"] is not None:
        facts["external_id"] = row["external_id"]
    return {
        "person": person_id(row["person"]),
        "name": row["name"],
        "metadata": {name: _scalar(fact) for name, fact in facts.items() if fact is not None},
        "created_at": row["added_at"],
    }


def _scalar(fact: Any) -> Any:
    """The fact itself, or JSON's text of a list or an object."""
    return json.dumps(fact, ensure_ascii=False) if isinstance(fact, list | dict) else fact


def _face(row: sqlite3.Row) -> dict[str, Any]:
    box: Mapping[str, int] = json.loads(row["bounding_box_json"])["pixels"]
    left, top = box["x"], box["y"]
    return {
        "id": row["face"],
        "embedding": pybase64.b64encode(row["embedding"]).decode(),
        "box": [left, top, left + box["width"], top + box["height"]],
        "score": row["detection_score"],
        "created_at": row["enrolled_at"],
    }


def upright_crop(crop: bytes, bounding_box: str) -> bytes:
    """A kept crop in the proportions of its box, enlarged, with a border; a PNG file.

    Raises InvalidImage for a crop that cannot be read.
    """
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InvalidImage("the kept crop is no picture")
    width, height = (json.loads(bounding_box)["pixels"][side] for side in ("width", "height"))
    scale = _CROP_SIDE / max(width, height, 1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    sized, around = cv2.resize(pixels, size), (_BORDER, _BORDER, _BORDER, _BORDER)
    framed = cv2.copyMakeBorder(sized, *around, cv2.BORDER_CONSTANT, value=[_GREY] * 3)
    return cv2.imencode(".png", framed)[1].tobytes()
