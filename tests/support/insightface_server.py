"""A SQLite file as an InsightFace Server 0.2 has it: the columns that are read."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployments.contracts import FloatArray
from graph.batch.insightface_server import models_digest

# Files of its pack buffalo_sc; the recognizer is the catalogue's arcface-mbf.
DETECTOR = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
RECOGNIZER = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
COLLECTION = "employees"
ADDED_AT = "2026-11-28T00:43:19.701Z"
_SCHEMA = """
CREATE TABLE collections (id TEXT, model_id TEXT, model_version TEXT, model_digest TEXT);
CREATE TABLE persons (
    collection_id TEXT, id TEXT, name TEXT, external_id TEXT, metadata_json TEXT, created_at TEXT
);
CREATE TABLE face_samples (
    id TEXT, collection_id TEXT, person_id TEXT, embedding BLOB, bounding_box_json TEXT,
    detection_score REAL, model_digest TEXT, embedding_source TEXT, created_at TEXT,
    crop_image BLOB
);
"""


@dataclass(frozen=True)
class ServerFace:
    """digest: of its models, by default the collection's. crop: a picture's file."""

    id: str
    vector: FloatArray
    source: str = "server"
    digest: str | None = None
    crop: bytes | None = None


@dataclass(frozen=True)
class ServerPerson:
    id: str
    name: str | None = None
    external_id: str | None = None
    metadata: str = "{}"
    faces: Sequence[ServerFace] = ()


def server_file(
    file: Path, *persons: ServerPerson, models: tuple[str, str] = (DETECTOR, RECOGNIZER)
) -> Path:
    """Write the file, with one collection. models: SHA-256 of both files."""
    digest = models_digest(*models)
    box = json.dumps({"pixels": {"x": 70, "y": 76, "width": 106, "height": 137}})
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.execute(
            "INSERT INTO collections VALUES (?, 'buffalo_sc', 'v0.7', ?)", (COLLECTION, digest)
        )
        for one in persons:
            facts = (one.id, one.name, one.external_id, one.metadata, ADDED_AT)
            connection.execute(
                "INSERT INTO persons VALUES (?, ?, ?, ?, ?, ?)", (COLLECTION, *facts)
            )
            for face in one.faces:
                made_by = (0.886998, face.digest or digest, face.source, ADDED_AT)
                vector = face.vector.astype("<f4").tobytes()
                connection.execute(
                    "INSERT INTO face_samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (face.id, COLLECTION, one.id, vector, box, *made_by, face.crop),
                )
    return file


def unit(*numbers: float) -> FloatArray:
    """float32 [512] that begins with these numbers; they have length 1."""
    vector = np.zeros(512, np.float32)
    vector[: len(numbers)] = numbers
    return vector
