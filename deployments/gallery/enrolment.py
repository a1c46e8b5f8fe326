"""The enrolment of photos: checks by the gallery's policy, and the faces' rows."""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import Embeddings, FloatArray
from deployments.gallery import audit, galleries, persons
from deployments.gallery.codes import GalleryCodes, Near
from deployments.gallery.contracts import Enrolled, Problem
from deployments.gallery.database import Connection
from deployments.gallery.galleries import StoredGallery
from deployments.gallery.persons import FACE, stored_face
from deployments.gallery.policy import REFUSED, photo_faults
from deployments.gallery.search import Wanted, candidates, measures, nearest
from deployments.gallery.vectors import code_of, loaded, stored


@dataclass(slots=True)
class _Own:
    """The person's faces: ids, and vectors float32 [D]."""

    person: int
    ids: set[str]
    vectors: list[FloatArray]


async def enrol(
    connection: Connection,
    gallery: StoredGallery,
    person: str,
    embedded: Sequence[Embeddings],
    sources: Sequence[str],
    codes: GalleryCodes,
    *,
    key: str,
) -> tuple[tuple[Enrolled, ...], int]:
    """Enrol the first face of each photo; return the outcomes and the person's number of faces.

    sources: the SHA-256 of each photo's file. Raises UnknownPerson, and WrongModel.
    """
    galleries.require_model(gallery, embedded)
    # A thread chooses them while the database works.
    near = [asyncio.create_task(_candidates(gallery, photo, codes)) for photo in embedded]
    # Writers of one person wait for each other here.
    number = await persons.lock(connection, gallery, person)
    own = await _own_faces(connection, gallery, number)
    outcomes = []
    for photo, source, chosen in zip(embedded, sources, near, strict=True):
        if len(photo):
            await galleries.pin(connection, gallery, photo.version)
        face = _face_id(person, source)
        if face in own.ids:
            outcomes.append(await _existing(connection, gallery, face))
            continue
        problems = await _problems(connection, gallery, own, photo, chosen, codes)
        if problems:
            outcomes.append(Enrolled("refused", None, tuple(problems)))
            continue
        outcomes.append(await _insert(connection, gallery, own, photo, face, source))
    added = [one.face.id for one in outcomes if one.outcome == "enrolled" and one.face]
    if added:
        await audit.record(connection, key, "enrol", gallery.settings.id, [person], added)
    return tuple(outcomes), len(own.ids)


def _face_id(person: str, source: str) -> str:
    """The same for a repeated call: 32 hex digits."""
    return hashlib.sha256(f"{person}\0{source}".encode()).hexdigest()[:32]


async def _own_faces(connection: Connection, gallery: StoredGallery, person: int) -> _Own:
    rows = await (
        await connection.execute(
            "SELECT id, embedding FROM faces WHERE gallery = %s AND person = %s",
            (gallery.no, person),
            binary=True,
        )
    ).fetchall()
    return _Own(person, {id for id, _ in rows}, [loaded(vector) for _, vector in rows])


async def _existing(connection: Connection, gallery: StoredGallery, face: str) -> Enrolled:
    row = await (
        await connection.execute(
            f"SELECT {FACE} FROM faces WHERE gallery = %s AND id = %s", (gallery.no, face)
        )
    ).fetchone()
    assert row is not None
    return Enrolled("exists", stored_face(row))


async def _candidates(
    gallery: StoredGallery, photo: Embeddings, codes: GalleryCodes
) -> Near | None:
    """The faces among which another person's may be like the photo's first face."""
    if not len(photo) or "another_person" not in REFUSED[gallery.settings.policy]:
        return None
    return await candidates(gallery, photo.vectors[0], Wanted(1), codes)


async def _problems(
    connection: Connection,
    gallery: StoredGallery,
    own: _Own,
    photo: Embeddings,
    near: Awaitable[Near | None],
    codes: GalleryCodes,
) -> list[Problem]:
    """near: the photo's `_candidates`."""
    settings = gallery.settings
    problems = [Problem(reason) for reason in photo_faults(photo, settings.policy)]
    if not len(photo):
        return problems or [Problem("face_not_found")]
    if len(own.ids) >= settings.max_faces_per_person:
        problems.append(Problem("too_many_faces"))
    refused, vector = REFUSED[settings.policy], photo.vectors[0]
    if "unlike_person" in refused and own.vectors:
        similarity = float(np.max(np.stack(own.vectors) @ vector))
        if similarity < settings.threshold:
            problems.append(Problem("unlike_person", None, similarity))
    if "another_person" in refused:
        wanted = Wanted(1, except_person=own.person)
        problems += [
            Problem("another_person", other.person, other.similarity)
            for other in await nearest(connection, gallery, vector, wanted, await near, codes)
            if other.similarity >= settings.threshold
        ]
    return problems


async def _insert(
    connection: Connection,
    gallery: StoredGallery,
    own: _Own,
    photo: Embeddings,
    face: str,
    source: str,
) -> Enrolled:
    vector, found = photo.vectors[0], photo.faces
    box = score = None
    if found is not None:
        box = [float(value) for value in found.detections.boxes[0]]
        score = float(found.detections.scores[0])
    row = await (
        await connection.execute(
            "INSERT INTO faces (gallery, person, code, id, embedding, box, score, quality, source)"
            f" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {FACE}",
            (
                gallery.no,
                own.person,
                code_of(vector),
                face,
                stored(vector),
                box,
                score,
                measures(photo, 0)["quality"],
                source,
            ),
        )
    ).fetchone()
    assert row is not None
    own.ids.add(face)
    own.vectors.append(vector)
    return Enrolled("enrolled", stored_face(row))
