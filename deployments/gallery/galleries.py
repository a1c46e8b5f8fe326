"""Galleries in the database."""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from deployments.contracts import EMBEDDING_SIZE, Embeddings
from deployments.errors import GalleryConflict, UnknownGallery, WrongModel
from deployments.gallery import audit, purge
from deployments.gallery.contracts import Deleted, Gallery, GallerySettings
from deployments.gallery.database import Connection

_SETTINGS = (
    "id, recognizer, threshold, version, policy, max_faces_per_person, min_margin,"
    " max_uncertainty, min_quality, scoring, embedding_size"
)
_CHANGEABLE = frozenset(_SETTINGS.split(", ")) - {"id", "recognizer", "version", "embedding_size"}
_COUNTED = (
    f"SELECT {_SETTINGS}, (SELECT count(*) FROM persons WHERE gallery = galleries.no),"
    " (SELECT count(*) FROM faces WHERE gallery = galleries.no), created_at FROM galleries"
)
_LONGEST_ID = 63


@dataclass(frozen=True, slots=True)
class StoredGallery:
    """A gallery's settings, and its number in the database."""

    no: int
    settings: GallerySettings

    @property
    def has_codes(self) -> bool:
        """Whether the codes tell how near a face is."""
        return self.settings.embedding_size == EMBEDDING_SIZE


async def find(connection: Connection, gallery: str) -> StoredGallery:
    """Raises UnknownGallery."""
    row = await (
        await connection.execute(f"SELECT no, {_SETTINGS} FROM galleries WHERE id = %s", (gallery,))
    ).fetchone()
    if row is None:
        raise UnknownGallery(f"there is no gallery {gallery!r}", gallery=gallery)
    return StoredGallery(row[0], GallerySettings(*row[1:]))


async def get(connection: Connection, gallery: str) -> Gallery:
    """Raises UnknownGallery."""
    row = await (await connection.execute(f"{_COUNTED} WHERE id = %s", (gallery,))).fetchone()
    if row is None:
        raise UnknownGallery(f"there is no gallery {gallery!r}", gallery=gallery)
    return _gallery(row)


async def list_all(connection: Connection) -> list[Gallery]:
    """By id."""
    rows = await (await connection.execute(f"{_COUNTED} ORDER BY id")).fetchall()
    return [_gallery(row) for row in rows]


async def put(
    connection: Connection,
    settings: GallerySettings,
    changed: Collection[str] | None = None,
    *,
    key: str,
) -> Gallery:
    """Make a gallery, or change its settings. A version that is left out stays.

    changed: the names of the settings that a gallery which is there takes; None for all.
    Raises GalleryConflict for another recognizer than the gallery's, or another version.
    """
    values = astuple(settings)
    made = await (
        await connection.execute(
            f"INSERT INTO galleries ({_SETTINGS}) VALUES ({', '.join(['%s'] * len(values))})"
            " ON CONFLICT (id) DO NOTHING RETURNING no",
            values,
        )
    ).fetchone()
    if made or await _change(connection, settings, changed):
        await audit.record(connection, key, "put_gallery", settings.id)
    return await get(connection, settings.id)


async def _change(
    connection: Connection, settings: GallerySettings, changed: Collection[str] | None
) -> bool:
    """Change the settings; False if they were so before."""
    # Under the lock, or of two changes at a time the later one could undo the earlier.
    await connection.execute("SELECT FROM galleries WHERE id = %s FOR UPDATE", (settings.id,))
    stored = (await find(connection, settings.id)).settings
    version = settings.version or stored.version
    if settings.recognizer != stored.recognizer or version != (stored.version or version):
        raise GalleryConflict(
            f"gallery {settings.id} holds embeddings by {stored.recognizer}"
            f" {stored.version or ''}: another recognizer needs another gallery",
            gallery=settings.id,
            recognizer=stored.recognizer,
            version=stored.version,
        )
    taken = _CHANGEABLE if changed is None else _CHANGEABLE & set(changed)
    wanted = replace(stored, version=version, **{name: getattr(settings, name) for name in taken})
    if stored.version is None:  # no face yet
        wanted = replace(wanted, embedding_size=settings.embedding_size)
    if wanted == stored:
        return False
    names = _SETTINGS.split(", ")
    await connection.execute(
        f"UPDATE galleries SET {', '.join(f'{name} = %s' for name in names)} WHERE id = %s",
        (*(getattr(wanted, name) for name in names), settings.id),
    )
    return True


async def delete(connection: Connection, gallery: str, *, key: str) -> Deleted:
    """Delete a gallery with its persons and faces. `purged` is not known yet."""
    row = await (
        await connection.execute("SELECT no FROM galleries WHERE id = %s FOR UPDATE", (gallery,))
    ).fetchone()
    if row is None:
        return Deleted(deleted=False, purged=False)
    # Enrolments hold their persons' locks: their faces are to be deleted too.
    await connection.execute("SELECT FROM persons WHERE gallery = %s ORDER BY no FOR UPDATE", row)
    parts = await (
        await connection.execute(
            "WITH gone AS (DELETE FROM faces WHERE gallery = %s"
            " RETURNING tableoid::regclass::text AS part) SELECT DISTINCT part FROM gone",
            row,
        )
    ).fetchall()
    await connection.execute("DELETE FROM persons WHERE gallery = %s", row)
    await connection.execute("DELETE FROM galleries WHERE no = %s", row)
    await purge.note(connection, (part for (part,) in parts))
    await audit.record(connection, key, "delete_gallery", gallery)
    return Deleted(deleted=True, purged=False)


def require_model(gallery: StoredGallery, embedded: Sequence[Embeddings]) -> None:
    """Raises WrongModel for embeddings by another recognizer, model or weights than the gallery's.

    An embedding without a version is taken as the gallery's.
    """
    settings = gallery.settings
    for photo in embedded:
        is_other = photo.version and settings.version and photo.version != settings.version
        if photo.recognizer != settings.recognizer or is_other:
            raise wrong_model(settings, photo.recognizer, photo.version)
        require_size(settings, photo.vectors.shape[1])


def require_size(settings: GallerySettings, size: int) -> None:
    """Raises WrongModel for embeddings of another length than the gallery's."""
    if size != settings.embedding_size:
        raise WrongModel(
            f"gallery {settings.id} holds embeddings of {settings.embedding_size} numbers, not of"
            f" {size}",
            gallery=settings.id,
            recognizer=settings.recognizer,
            version=settings.version,
        )


def wrong_model(settings: GallerySettings, recognizer: str, version: str | None) -> WrongModel:
    """The error that names both models, and the commands that embed the user's photos again."""
    new = f"{settings.id[: _LONGEST_ID - 2]}-2"
    return WrongModel(
        f"gallery {settings.id} holds embeddings by {settings.recognizer} {settings.version}, not"
        f" by {recognizer} {version}: enrol the photos again. If the graph still serves"
        f" {settings.version}: `facegraph gallery enrol {settings.id} FOLDER`. If it does not:"
        f" `facegraph gallery create {new} --recognizer {settings.recognizer}`, then `facegraph"
        f" gallery enrol {new} FOLDER`; {settings.id} stays until you delete it",
        gallery=settings.id,
        recognizer=settings.recognizer,
        version=settings.version,
    )


async def pin(connection: Connection, gallery: StoredGallery, version: str | None) -> None:
    """Make a version the gallery's, if it has none yet. Raises WrongModel if it has another."""
    if version is None or gallery.settings.version == version:
        return
    await connection.execute(
        "UPDATE galleries SET version = %s WHERE no = %s AND version IS NULL", (version, gallery.no)
    )
    now = await find(connection, gallery.settings.id)
    if now.settings.version != version:
        raise wrong_model(now.settings, now.settings.recognizer, version)


def _gallery(row: tuple[Any, ...]) -> Gallery:
    *settings, persons, faces, created_at = row
    return Gallery(GallerySettings(*settings), persons, faces, created_at)
