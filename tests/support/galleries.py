"""Embeddings and stores for the tests of galleries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np

from configs.gallery import GalleryConfig, SearchConfig
from deployments.contracts import EMBEDDING_SIZE, Embeddings, FloatArray
from deployments.gallery.contracts import GallerySettings, NewPerson, Policy, Scoring
from deployments.gallery.database import Database
from deployments.gallery.store import Store

KEY = "tests"
RECOGNIZER, VERSION = "arcface", "arcface-mbf@1"


@asynccontextmanager
async def opened(
    dsn: str,
    *,
    search: SearchConfig | None = None,
    purge_timeout_s: float = 10.0,
    folder: Path | None = None,
) -> AsyncIterator[Store]:
    """A store with connections of its own, as a replica has. folder: the embedded server's."""
    config = GalleryConfig(
        search=search or SearchConfig(),
        connect_timeout_s=2.0,
        purge_timeout_s=purge_timeout_s,
        retry_after_s=1,
    )
    database = Database(dsn, config, folder=folder)
    await database.open()
    store = Store(database, config)
    try:
        yield store
    finally:
        await store.close()


async def with_gallery(
    store: Store,
    name: str = "staff",
    *,
    policy: Policy = "off",
    threshold: float = 0.4,
    scoring: Scoring = "best",
    version: str | None = VERSION,
    max_faces_per_person: int = 20,
    embedding_size: int = EMBEDDING_SIZE,
    persons: tuple[str, ...] = (),
) -> None:
    """Make a gallery with persons who have no face yet."""
    settings = GallerySettings(
        name,
        RECOGNIZER,
        threshold,
        version,
        policy,
        scoring=scoring,
        max_faces_per_person=max_faces_per_person,
        embedding_size=embedding_size,
    )
    await store.put_gallery(settings, key=KEY)
    for person in persons:
        await store.put_person(name, NewPerson(person), key=KEY)


def axis(
    number: int, *, towards: int | None = None, cosine: float = 1.0, size: int = EMBEDDING_SIZE
) -> FloatArray:
    """float32 [size] of length 1 along one axis, or at a cosine to it, turned towards another."""
    vector = np.zeros(size, np.float32)
    vector[number] = cosine
    if towards is not None:
        vector[towards] = np.sqrt(1 - cosine**2)
    return vector


def embedded(*vectors: FloatArray, version: str | None = VERSION) -> Embeddings:
    """A recognizer's answer for a photo with such faces."""
    stacked = np.stack(vectors) if vectors else np.zeros((0, EMBEDDING_SIZE), np.float32)
    return Embeddings(stacked, None, RECOGNIZER, version=version)


def source(name: str) -> str:
    """The hash of a photo."""
    return sha256(name.encode()).hexdigest()


async def enrol(store: Store, person: str, *vectors: FloatArray, gallery: str = "staff") -> None:
    """Make a person, and enrol a photo for each vector."""
    await store.put_person(gallery, NewPerson(person), key=KEY)
    photos = [embedded(vector) for vector in vectors]
    sources = [source(f"{person} {number}") for number in range(len(vectors))]
    done = await store.enrol(photos, gallery, person, sources, key=KEY)
    assert {photo.outcome for photo in done.photos} == {"enrolled"}


def identities(count: int, *, faces: int, seed: int = 0) -> FloatArray:
    """Faces float32 [count,faces,512] of made-up persons.

    The cosine of two faces of a person is 0.6 in the mean with a deviation of 0.08; of two
    persons, 0 with a deviation of 0.07, as the vectors have some 200 independent directions.
    """
    random = np.random.default_rng(seed)
    spread = np.exp(-np.arange(EMBEDDING_SIZE) / 200).astype(np.float32)

    def directions(shape: tuple[int, ...]) -> FloatArray:
        drawn = random.standard_normal((*shape, EMBEDDING_SIZE), dtype=np.float32) * spread
        unit: FloatArray = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
        return unit

    centres = directions((count, 1))
    cosines = np.sqrt(np.clip(random.normal(0.6, 0.1, (count, faces, 1)), 0.3, 0.95))
    mixed = cosines * centres + np.sqrt(1 - cosines**2) * directions((count, faces))
    unit: FloatArray = (mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)).astype(np.float32)
    return unit
