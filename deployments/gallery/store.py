"""The galleries' store: each method is one transaction. Safe to use from several processes."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from configs.gallery import GalleryConfig
from deployments.contracts import Embeddings
from deployments.errors import FaceNotFound, GalleryUnavailable
from deployments.gallery import audit, enrolment, galleries, persons, purge, search, transfer
from deployments.gallery.codes import GalleryCodes
from deployments.gallery.contracts import (
    AuditPage,
    Deleted,
    Enrolment,
    ExportPage,
    Gallery,
    GallerySettings,
    Imported,
    Metadata,
    NewPerson,
    Person,
    PersonPage,
    SearchQuery,
    SearchResult,
    StoredFace,
    Verification,
)
from deployments.gallery.database import Connection, Database
from deployments.gallery.galleries import StoredGallery
from deployments.gallery.search import Recall


class Store:
    """Galleries, persons and faces in a migrated database.

    Every method raises GalleryUnavailable while the database does not answer, and UnknownGallery
    for a gallery that there is not; every change raises GalleryDiskFull. `key` is the name of the
    caller's API key, for the audit.
    """

    def __init__(self, database: Database, config: GalleryConfig) -> None:
        self.database = database
        self._config = config
        self._codes = GalleryCodes(database, config.search)

    async def close(self) -> None:
        """End the work in the background, and the connections."""
        await self._codes.close()
        await self.database.close()

    async def put_gallery(
        self, settings: GallerySettings, changed: Collection[str] | None = None, *, key: str
    ) -> Gallery:
        self.database.require_room()
        async with self.database.transaction() as connection:
            return await galleries.put(connection, settings, changed, key=key)

    async def get_gallery(self, gallery: str) -> Gallery:
        async with self.database.transaction() as connection:
            return await galleries.get(connection, gallery)

    async def list_galleries(self) -> list[Gallery]:
        async with self.database.transaction() as connection:
            return await galleries.list_all(connection)

    async def delete_gallery(self, gallery: str, *, key: str) -> Deleted:
        self.database.require_room(deletes=True)
        async with self.database.transaction() as connection:
            deleted = await galleries.delete(connection, gallery, key=key)
        return await self._purged(deleted)

    async def put_person(self, gallery: str, person: NewPerson, *, key: str) -> Person:
        async with self._changing(gallery) as (connection, found):
            return await persons.put(
                connection, found, person, key=key, max_persons=self._config.max_persons
            )

    async def get_person(self, gallery: str, person: str) -> Person:
        async with self._in(gallery) as (connection, found):
            return await persons.get(connection, found, person)

    async def list_persons(
        self, gallery: str, *, limit: int, cursor: str | None = None, filter: Metadata | None = None
    ) -> PersonPage:
        async with self._in(gallery) as (connection, found):
            return await persons.list_page(
                connection, found, limit=limit, cursor=cursor, filter=filter
            )

    async def change_person(
        self, gallery: str, person: str, changes: Mapping[str, Any], *, key: str
    ) -> Person:
        async with self._changing(gallery) as (connection, found):
            return await persons.change(connection, found, person, changes, key=key)

    async def delete_person(self, gallery: str, person: str, *, key: str) -> Deleted:
        async with self._changing(gallery, deletes=True) as (connection, found):
            deleted = await persons.delete(connection, found, person, key=key)
        return await self._purged(deleted)

    async def merge_persons(self, gallery: str, person: str, source: str, *, key: str) -> Person:
        async with self._changing(gallery) as (connection, found):
            return await persons.merge(connection, found, person, source, key=key)

    async def move_person(self, gallery: str, person: str, to: str, *, key: str) -> Person:
        async with self._changing(gallery) as (connection, found):
            target = await galleries.find(connection, to)
            return await persons.move(
                connection, found, person, target, key=key, max_persons=self._config.max_persons
            )

    async def list_faces(self, gallery: str, person: str) -> list[StoredFace]:
        async with self._in(gallery) as (connection, found):
            return await persons.list_faces(connection, found, person)

    async def delete_face(self, gallery: str, person: str, face: str, *, key: str) -> Deleted:
        async with self._changing(gallery, deletes=True) as (connection, found):
            deleted = await persons.delete_face(connection, found, person, face, key=key)
        return await self._purged(deleted)

    async def move_face(
        self, gallery: str, person: str, face: str, to: str, *, key: str
    ) -> StoredFace:
        async with self._changing(gallery) as (connection, found):
            return await persons.move_face(connection, found, person, face, to, key=key)

    async def enrol(
        self,
        embedded: Sequence[Embeddings],
        gallery: str,
        person: str,
        sources: Sequence[str],
        *,
        key: str,
    ) -> Enrolment:
        """Enrol the first face of each photo. sources: the SHA-256 of each photo's file."""
        async with self._changing(gallery) as (connection, found):
            photos, faces = await enrolment.enrol(
                connection, found, person, embedded, sources, self._codes, key=key
            )
        return Enrolment(photos, faces, tuple(span for photo in embedded for span in photo.spans))

    async def search(self, embedded: Sequence[Embeddings], query: SearchQuery) -> SearchResult:
        """Search with all faces of one photo, or with the embedding in its place."""
        [photo] = embedded
        async with self._in(query.gallery) as (connection, found):
            galleries.require_model(found, embedded)
            threshold = found.settings.threshold if query.threshold is None else query.threshold
            wanted = search.Wanted(query.top_k, query.filter)
            faces = [
                await search.search_face(
                    connection, found, photo, index, wanted, threshold, self._codes
                )
                for index in range(len(photo))
            ]
        return SearchResult(threshold, tuple(faces), photo.faces, photo.spans)

    async def verify(
        self,
        embedded: Sequence[Embeddings],
        gallery: str,
        person: str,
        *,
        threshold: float | None = None,
    ) -> Verification:
        """Compare the first face of a photo with one person. Raises FaceNotFound, UnknownPerson,
        and UnknownFace for a person without faces."""
        [photo] = embedded
        async with self._in(gallery) as (connection, found):
            galleries.require_model(found, embedded)
            if not len(photo):
                field = photo.faces.field if photo.faces else "image"
                raise FaceNotFound(f"{field}: no face was found", field=field)
            similarity, face = await search.similarity_to_person(
                connection, found, person, photo.vectors[0]
            )
        limit = found.settings.threshold if threshold is None else threshold
        measured = search.measures(photo, 0)
        decision, doubts = search.decide(found.settings, [similarity], limit, **measured)
        return Verification(
            similarity, limit, decision, doubts, face, photo.faces, photo.spans, measured["quality"]
        )

    async def export_page(
        self, gallery: str, *, cursor: str | None = None, limit: int
    ) -> ExportPage:
        async with self._in(gallery) as (connection, found):
            return await transfer.export_page(connection, found, cursor=cursor, limit=limit)

    async def import_lines(self, gallery: str, lines: bytes, *, key: str) -> Imported:
        async with self._changing(gallery) as (connection, found):
            return await transfer.import_lines(connection, found, lines, key=key)

    async def audit(
        self, gallery: str | None = None, *, limit: int, cursor: str | None = None
    ) -> AuditPage:
        async with self.database.transaction() as connection:
            return await audit.page(connection, gallery, limit=limit, cursor=cursor)

    async def check_recall(self, gallery: str, *, sample: int) -> Recall:
        async with self._in(gallery) as (connection, found):
            return await search.check_recall(connection, found, sample, self._codes)

    @asynccontextmanager
    async def _in(self, gallery: str) -> AsyncIterator[tuple[Connection, StoredGallery]]:
        """A transaction, and the gallery in it."""
        async with self.database.transaction() as connection:
            yield connection, await galleries.find(connection, gallery)

    @asynccontextmanager
    async def _changing(
        self, gallery: str, *, deletes: bool = False
    ) -> AsyncIterator[tuple[Connection, StoredGallery]]:
        """`_in`, for a change. Raises GalleryDiskFull."""
        self.database.require_room(deletes=deletes)
        async with self._in(gallery) as found:
            yield found

    async def ping(self) -> None:
        """Ask the database for an answer."""
        async with self.database.transaction() as connection:
            await connection.execute("SELECT count(*) FROM galleries")

    async def retain(self) -> int:
        """Delete the persons whose time is over, and purge what earlier deletions left; return the
        number of the persons."""
        self.database.require_room(deletes=True)
        expired, done = 0, None
        while done != 0:  # some at a time, so that no transaction takes long
            async with self.database.transaction() as connection:
                done = await persons.delete_expired(connection)
            expired += done
        await purge.purge(self.database, timeout_s=self._config.retention_interval_s)
        await self._codes.check()
        return expired

    async def keep_codes(self, gallery: str) -> None:
        """Wait until this process has the gallery's codes, if it has room for them."""
        async with self._in(gallery) as (_, found):
            await self._codes.kept(found.no)

    async def _purged(self, deleted: Deleted) -> Deleted:
        """The deletion, and whether its bytes are gone: it holds even if the purge fails.

        A deletion of nothing may be one that is sent again, whose bytes are there still.
        """
        try:
            purged = await purge.purge(self.database, timeout_s=self._config.purge_timeout_s)
        except GalleryUnavailable:
            purged = False
        return Deleted(deleted=deleted.deleted, purged=purged)
