"""Persons and their faces in the database, but for enrolment and search."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from deployments.errors import GalleryConflict, GalleryFull, UnknownFace, UnknownPerson
from deployments.gallery import audit, galleries, purge
from deployments.gallery.contracts import (
    Deleted,
    Metadata,
    NewPerson,
    Person,
    PersonPage,
    StoredFace,
)
from deployments.gallery.database import Connection, plan_by_values
from deployments.gallery.galleries import StoredGallery

_PERSON = (
    "SELECT id, name, metadata, (SELECT count(*) FROM faces WHERE faces.gallery = persons.gallery"
    " AND faces.person = persons.no), created_at, updated_at, expires_at FROM persons"
)
# True of a person whose time is not over; no answer has any other person.
IS_VALID = "(expires_at IS NULL OR expires_at > now())"
FACE = "id, box, score, quality, source, created_at"
# The rows that a deletion of faces leaves: each face's id and part.
_GONE = "RETURNING id, tableoid::regclass::text"


async def put(
    connection: Connection,
    gallery: StoredGallery,
    person: NewPerson,
    *,
    key: str,
    max_persons: int | None = None,
) -> Person:
    """Make a person. The same call again is answered with the stored person.

    Raises GalleryConflict for an id that a person with another name, metadata or expiry has, and
    GalleryFull.
    """
    if max_persons is not None:
        await _require_room(connection, gallery, person.id, max_persons)
    await delete_expired(connection, gallery, [person.id])
    wanted = (person.name, dict(person.metadata or {}), person.expires_at)
    made = await (
        await connection.execute(
            "INSERT INTO persons (gallery, id, name, metadata, expires_at)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (gallery, id) DO NOTHING RETURNING no",
            (gallery.no, person.id, wanted[0], Jsonb(wanted[1]), wanted[2]),
        )
    ).fetchone()
    stored = await get(connection, gallery, person.id, expired=True)
    if made:
        await audit.record(connection, key, "put_person", gallery.settings.id, [person.id])
    elif wanted != (stored.name, stored.metadata, stored.expires_at):
        raise GalleryConflict(
            f"there is a person {person.id!r} with another name, metadata or expiry",
            gallery=gallery.settings.id,
            person=person.id,
        )
    return stored


async def _require_room(
    connection: Connection, gallery: StoredGallery, person: str, max_persons: int
) -> None:
    # Under the gallery's lock, or two writers could both take the last place.
    await connection.execute("SELECT FROM galleries WHERE no = %s FOR UPDATE", (gallery.no,))
    row = await (
        await connection.execute(
            "SELECT count(*) FILTER (WHERE id <> %s), count(*) FILTER (WHERE id = %s) FROM persons"
            " WHERE gallery = %s",
            (person, person, gallery.no),
        )
    ).fetchone()
    assert row is not None
    if row[0] >= max_persons and not row[1]:
        raise GalleryFull(
            f"gallery {gallery.settings.id} has {row[0]} persons, the most that is configured"
            " (gallery.max_persons)",
            gallery=gallery.settings.id,
        )


async def get(
    connection: Connection, gallery: StoredGallery, person: str, *, expired: bool = False
) -> Person:
    """Raises UnknownPerson, also for a person whose time is over, unless `expired`."""
    valid = "" if expired else f"AND {IS_VALID}"
    row = await (
        await connection.execute(
            f"{_PERSON} WHERE gallery = %s AND id = %s {valid}", (gallery.no, person)
        )
    ).fetchone()
    if row is None:
        raise unknown(gallery, person)
    return Person(*row)


def unknown(gallery: StoredGallery, person: str) -> UnknownPerson:
    return UnknownPerson(
        f"gallery {gallery.settings.id} has no person {person!r}",
        gallery=gallery.settings.id,
        person=person,
    )


async def list_page(
    connection: Connection,
    gallery: StoredGallery,
    *,
    limit: int,
    cursor: str | None,
    filter: Metadata | None,
) -> PersonPage:
    """Persons by id, from after the cursor."""
    await plan_by_values(connection)
    rows = await (
        await connection.execute(
            f"{_PERSON} WHERE gallery = %(gallery)s AND {IS_VALID}"
            " AND (%(after)s::text IS NULL OR id > %(after)s)"
            " AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s)"
            " ORDER BY id LIMIT %(limit)s",
            {
                "gallery": gallery.no,
                "after": cursor,
                "filter": Jsonb(dict(filter)) if filter else None,
                "limit": limit + 1,
            },
        )
    ).fetchall()
    persons = tuple(Person(*row) for row in rows[:limit])
    return PersonPage(persons, persons[-1].id if len(rows) > limit else None)


async def change(
    connection: Connection,
    gallery: StoredGallery,
    person: str,
    changes: Mapping[str, Any],
    *,
    key: str,
) -> Person:
    """Set the fields of `changes`: name, metadata, expires_at. Raises UnknownPerson."""
    # Locked, or of two changes at a time the later one could undo the earlier.
    await lock(connection, gallery, person)
    stored = await get(connection, gallery, person)
    name = changes.get("name", stored.name)
    metadata = dict(changes.get("metadata", stored.metadata) or {})
    expires_at = changes.get("expires_at", stored.expires_at)
    if (name, metadata, expires_at) == (stored.name, stored.metadata, stored.expires_at):
        return stored  # a repeated call
    await connection.execute(
        "UPDATE persons SET name = %s, metadata = %s, expires_at = %s, updated_at = now()"
        " WHERE gallery = %s AND id = %s",
        (name, Jsonb(metadata), expires_at, gallery.no, person),
    )
    await audit.record(connection, key, "change_person", gallery.settings.id, [person])
    return await get(connection, gallery, person, expired=True)


async def delete(
    connection: Connection, gallery: StoredGallery, person: str, *, key: str
) -> Deleted:
    """Delete a person with all faces. `purged` is not known yet."""
    locked = await _locked(connection, gallery, [person], expired=True)
    if person not in locked:
        return Deleted(deleted=False, purged=False)
    faces = await _delete_persons(connection, gallery.no, list(locked.values()))
    await audit.record(
        connection, key, "delete_person", gallery.settings.id, [person], [id for id, _ in faces]
    )
    return Deleted(deleted=True, purged=False)


async def delete_expired(
    connection: Connection, gallery: StoredGallery | None = None, persons: Sequence[str] = ()
) -> int:
    """Delete up to 1000 persons whose `expires_at` has passed; return their number.

    gallery: all those of its persons that are given by their ids, and no others.
    """
    only = "AND gallery = %(gallery)s AND id = ANY(%(ids)s)" if gallery else ""
    rows = await (
        await connection.execute(
            "SELECT gallery, galleries.id, array_agg(locked.no), array_agg(locked.id) FROM"
            f" (SELECT gallery, no, id FROM persons WHERE expires_at <= now() {only}"
            " ORDER BY no LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS locked"
            " JOIN galleries ON galleries.no = locked.gallery GROUP BY gallery, galleries.id",
            {
                "gallery": gallery.no if gallery else None,
                "ids": list(persons),
                "most": None if gallery else 1000,
            },
        )
    ).fetchall()
    for number, name, numbers, ids in rows:
        faces = await _delete_persons(connection, number, numbers)
        await audit.record(connection, "retention", "expire", name, ids, [id for id, _ in faces])
    return sum(len(ids) for _, _, _, ids in rows)


async def _delete_persons(
    connection: Connection, gallery: int, persons: Sequence[int]
) -> list[tuple[str, str]]:
    """Delete locked persons; return their faces' ids and parts."""
    faces = await (
        await connection.execute(
            f"DELETE FROM faces WHERE gallery = %s AND person = ANY(%s) {_GONE}",
            (gallery, list(persons)),
        )
    ).fetchall()
    await connection.execute("DELETE FROM persons WHERE no = ANY(%s)", (list(persons),))
    await purge.note(connection, (part for _, part in faces))
    return [(id, part) for id, part in faces]


async def merge(
    connection: Connection, gallery: StoredGallery, person: str, source: str, *, key: str
) -> Person:
    """Give a person the faces of another, who is deleted. Raises UnknownPerson.

    The person may have more faces afterwards than the gallery allows to enrol.
    """
    locked = await _locked(connection, gallery, [person, source])
    if person not in locked:
        raise unknown(gallery, person)
    if source not in locked:
        # A repeated call: the first has done it.
        if await _was_merged(connection, gallery, person, source):
            return await get(connection, gallery, person)
        raise unknown(gallery, source)
    if person != source:
        await connection.execute(
            "UPDATE faces SET person = %s WHERE gallery = %s AND person = %s",
            (locked[person], gallery.no, locked[source]),
        )
        await connection.execute("DELETE FROM persons WHERE no = %s", (locked[source],))
        await _touch(connection, [locked[person]])
        await audit.record(connection, key, "merge_persons", gallery.settings.id, [person, source])
    return await get(connection, gallery, person)


async def _was_merged(
    connection: Connection, gallery: StoredGallery, person: str, source: str
) -> bool:
    row = await (
        await connection.execute(
            "SELECT EXISTS (SELECT FROM audit WHERE gallery = %s AND action = 'merge_persons'"
            " AND persons = %s)",
            (gallery.settings.id, [person, source]),
        )
    ).fetchone()
    return row == (True,)


async def move(
    connection: Connection,
    gallery: StoredGallery,
    person: str,
    to: StoredGallery,
    *,
    key: str,
    max_persons: int | None = None,
) -> Person:
    """Move a person with all faces to another gallery of the same model. Raises UnknownPerson,
    WrongModel, GalleryFull, and GalleryConflict if that gallery has a person, or a face, of the
    same id."""
    old, new = gallery.settings, to.settings
    if old.recognizer != new.recognizer:
        raise galleries.wrong_model(new, old.recognizer, old.version)
    galleries.require_size(new, old.embedding_size)
    locked = await _locked(connection, gallery, [person])
    if person not in locked:
        return await get(connection, to, person)  # moved by an earlier attempt, or unknown
    if (await get(connection, gallery, person)).faces:
        await galleries.pin(connection, to, old.version)
    if max_persons is not None:
        await _require_room(connection, to, person, max_persons)
    try:
        # The faces' gallery follows: their foreign key is of gallery and person.
        await connection.execute(
            "UPDATE persons SET gallery = %s, updated_at = now() WHERE no = %s",
            (to.no, locked[person]),
        )
        await connection.execute(
            "UPDATE faces SET stored_in = DEFAULT WHERE gallery = %s AND person = %s",
            (to.no, locked[person]),
        )
    except UniqueViolation:
        raise GalleryConflict(
            f"gallery {new.id} has a person {person!r}, or one of the person's faces",
            gallery=new.id,
            person=person,
        ) from None
    await audit.record(connection, key, "move_person", old.id, [person])
    await audit.record(connection, key, "move_person", new.id, [person])
    return await get(connection, to, person)


async def list_faces(
    connection: Connection, gallery: StoredGallery, person: str
) -> list[StoredFace]:
    """The oldest first. Raises UnknownPerson."""
    rows = await (
        await connection.execute(
            f"SELECT {FACE} FROM faces WHERE gallery = %s AND person = %s ORDER BY created_at, id",
            (gallery.no, await number_of(connection, gallery, person)),
        )
    ).fetchall()
    return [stored_face(row) for row in rows]


async def delete_face(
    connection: Connection, gallery: StoredGallery, person: str, face: str, *, key: str
) -> Deleted:
    """`purged` is not known yet."""
    locked = await _locked(connection, gallery, [person], expired=True)
    gone = await (
        await connection.execute(
            f"DELETE FROM faces WHERE gallery = %s AND id = %s AND person = ANY(%s) {_GONE}",
            (gallery.no, face, list(locked.values())),
        )
    ).fetchone()
    if gone is None:
        return Deleted(deleted=False, purged=False)
    await purge.note(connection, [gone[1]])
    await _touch(connection, list(locked.values()))
    await audit.record(connection, key, "delete_face", gallery.settings.id, [person], [face])
    return Deleted(deleted=True, purged=False)


async def move_face(
    connection: Connection, gallery: StoredGallery, person: str, face: str, to: str, *, key: str
) -> StoredFace:
    """Give a face to another person of the gallery. Raises UnknownPerson, UnknownFace."""
    locked = await _locked(connection, gallery, [person, to])
    for name in (person, to):
        if name not in locked:
            raise unknown(gallery, name)
    row = await (
        await connection.execute(
            f"SELECT person, {FACE} FROM faces WHERE gallery = %s AND id = %s AND person = ANY(%s)",
            (gallery.no, face, list(locked.values())),
        )
    ).fetchone()
    if row is None:
        raise UnknownFace(f"person {person!r} has no face {face!r}", person=person, face=face)
    if row[0] != locked[to]:  # else a repeated call
        await connection.execute(
            "UPDATE faces SET person = %s WHERE gallery = %s AND id = %s",
            (locked[to], gallery.no, face),
        )
        await _touch(connection, list(locked.values()))
        await audit.record(connection, key, "move_face", gallery.settings.id, [person, to], [face])
    return stored_face(row[1:])


async def number_of(connection: Connection, gallery: StoredGallery, person: str) -> int:
    """The person's number in the database. Raises UnknownPerson."""
    row = await (
        await connection.execute(
            f"SELECT no FROM persons WHERE gallery = %s AND id = %s AND {IS_VALID}",
            (gallery.no, person),
        )
    ).fetchone()
    if row is None:
        raise unknown(gallery, person)
    return int(row[0])


async def lock(connection: Connection, gallery: StoredGallery, person: str) -> int:
    """Lock a person against other writers; return the person's number. Raises UnknownPerson."""
    locked = await _locked(connection, gallery, [person])
    if person not in locked:
        raise unknown(gallery, person)
    return locked[person]


async def _locked(
    connection: Connection,
    gallery: StoredGallery,
    persons: Sequence[str],
    *,
    expired: bool = False,
) -> dict[str, int]:
    """The numbers of those persons that there are, locked in one order.

    expired: also of those whose time is over.
    """
    valid = "" if expired else f"AND {IS_VALID}"
    rows = await (
        await connection.execute(
            f"SELECT id, no FROM persons WHERE gallery = %s AND id = ANY(%s) {valid}"
            " ORDER BY no FOR UPDATE",
            (gallery.no, list(persons)),
        )
    ).fetchall()
    return {id: int(number) for id, number in rows}


async def _touch(connection: Connection, persons: Sequence[int]) -> None:
    await connection.execute(
        "UPDATE persons SET updated_at = now() WHERE no = ANY(%s)", (list(persons),)
    )


def stored_face(row: Sequence[Any]) -> StoredFace:
    """A row of FACE's columns."""
    id, box, score, quality, source, created_at = row
    return StoredFace(id, tuple(box) if box else None, score, quality, source, created_at)
