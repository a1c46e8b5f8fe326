"""The galleries' Ray deployment: embeddings in, candidates out; faces are kept in PostgreSQL."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve import metrics

from configs.gallery import GalleryConfig
from deployments.contracts import Embeddings, Span, StageInfo
from deployments.errors import GalleryUnavailable
from deployments.gallery.connection import StoreConnection, configured_dsn
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
from deployments.gallery.store import Store
from deployments.replica.groups import Slot, only
from deployments.replica.logs import guard_log
from deployments.replica.metrics import StageMetrics
from deployments.replica.workers import BusyTime, Stopwatch

logger = logging.getLogger("ray.serve")

# A recognizer's answer to a group of one request.
Embedded = Sequence[Slot[Sequence[Embeddings]]]


# A replica mostly waits for the database.
@serve.deployment(name="Gallery", max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.1})
class GalleryDeployment:
    """A replica without its database stays up and answers every call with GalleryUnavailable."""

    # Serve calls it in the replica's event loop, of which a task opens the store.
    def __init__(self, config: GalleryConfig) -> None:
        guard_log()
        self._metrics = StageMetrics(metrics)
        self._busy_time = BusyTime(workers=config.max_connections)
        self._is_embedded = configured_dsn(config) is None
        self._refusal = _several_machines() if self._is_embedded else None
        if self._refusal:
            logger.error("galleries: %s", self._refusal)
        self._connection = None if self._refusal else StoreConnection(config, self._busy_time)

    async def check_health(self) -> None:
        """Ask the database a question. One that is away or busy is no fault of the replica."""
        if self._connection:
            await self._connection.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._busy_time.stats()

    def describe(self) -> StageInfo:
        failure = self._refusal or (self._connection.failure if self._connection else None)
        runtime = "postgresql, embedded" if self._is_embedded else "postgresql"
        return StageInfo("gallery", None, runtime, "cpu", unavailable=failure)

    async def put_gallery(
        self, settings: GallerySettings, changed: Collection[str] | None = None, *, key: str
    ) -> Gallery:
        store = await self._store()
        return await store.put_gallery(settings, changed, key=key)

    async def get_gallery(self, gallery: str) -> Gallery:
        store = await self._store()
        return await store.get_gallery(gallery)

    async def list_galleries(self) -> list[Gallery]:
        store = await self._store()
        return await store.list_galleries()

    async def delete_gallery(self, gallery: str, *, key: str) -> Deleted:
        store = await self._store()
        return await store.delete_gallery(gallery, key=key)

    async def put_person(self, gallery: str, person: NewPerson, *, key: str) -> Person:
        store = await self._store()
        return await store.put_person(gallery, person, key=key)

    async def get_person(self, gallery: str, person: str) -> Person:
        store = await self._store()
        return await store.get_person(gallery, person)

    async def change_person(
        self, gallery: str, person: str, changes: Mapping[str, Any], *, key: str
    ) -> Person:
        store = await self._store()
        return await store.change_person(gallery, person, changes, key=key)

    async def delete_person(self, gallery: str, person: str, *, key: str) -> Deleted:
        store = await self._store()
        return await store.delete_person(gallery, person, key=key)

    async def merge_persons(self, gallery: str, person: str, source: str, *, key: str) -> Person:
        store = await self._store()
        return await store.merge_persons(gallery, person, source, key=key)

    async def move_person(self, gallery: str, person: str, to: str, *, key: str) -> Person:
        store = await self._store()
        return await store.move_person(gallery, person, to, key=key)

    async def list_faces(self, gallery: str, person: str) -> list[StoredFace]:
        store = await self._store()
        return await store.list_faces(gallery, person)

    async def delete_face(self, gallery: str, person: str, face: str, *, key: str) -> Deleted:
        store = await self._store()
        return await store.delete_face(gallery, person, face, key=key)

    async def move_face(
        self, gallery: str, person: str, face: str, to: str, *, key: str
    ) -> StoredFace:
        store = await self._store()
        return await store.move_face(gallery, person, face, to, key=key)

    async def import_lines(self, gallery: str, lines: bytes, *, key: str) -> Imported:
        store = await self._store()
        return await store.import_lines(gallery, lines, key=key)

    async def list_persons(
        self,
        gallery: str,
        *,
        limit: int,
        cursor: str | None = None,
        filter: Metadata | None = None,
    ) -> PersonPage:
        store = await self._store()
        return await store.list_persons(gallery, limit=limit, cursor=cursor, filter=filter)

    async def export_page(
        self, gallery: str, *, cursor: str | None = None, limit: int
    ) -> ExportPage:
        store = await self._store()
        return await store.export_page(gallery, cursor=cursor, limit=limit)

    async def audit(
        self, gallery: str | None = None, *, limit: int, cursor: str | None = None
    ) -> AuditPage:
        store = await self._store()
        return await store.audit(gallery, limit=limit, cursor=cursor)

    async def enrol(
        self,
        embedded: Embedded,
        gallery: str,
        person: str,
        sources: Sequence[str],
        *,
        key: str,
    ) -> Enrolment:
        """`Store.enrol`."""
        watch = Stopwatch("enrol", None)
        store = await self._store()
        done = await store.enrol(only(embedded), gallery, person, sources, key=key)
        return replace(done, spans=(*done.spans, self._done(watch)))

    async def search(self, embedded: Embedded, query: SearchQuery) -> SearchResult:
        watch = Stopwatch("search", None)
        found = await (await self._store()).search(only(embedded), query)
        return replace(found, spans=(*found.spans, self._done(watch)))

    async def verify(
        self,
        embedded: Embedded,
        gallery: str,
        person: str,
        *,
        threshold: float | None = None,
    ) -> Verification:
        watch = Stopwatch("verify", None)
        store = await self._store()
        found = await store.verify(only(embedded), gallery, person, threshold=threshold)
        return replace(found, spans=(*found.spans, self._done(watch)))

    async def _store(self) -> Store:
        if self._connection is None:
            raise GalleryUnavailable(self._refusal or "")
        return await self._connection.store()

    def _done(self, watch: Stopwatch) -> Span:
        return self._metrics.done(watch.stop())


def _several_machines() -> str | None:
    """Why an embedded database cannot serve this cluster: each machine would have its own."""
    machines = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(machines) == 1:
        return None
    return (
        f"the cluster has {len(machines)} machines: galleries need a database that all reach"
        " (gallery.dsn, or FACEGRAPH_GALLERY_DSN)"
    )
