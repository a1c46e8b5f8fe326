"""The requests about galleries: photos go through the stages to the gallery stage.

    photo --Detector--> --Aligner--> --the gallery's Recognizer--> embedding --Gallery--> answer

The gallery stage stores, searches and decides; an embedding never comes to the ingress, but in an
export. A write may be sent twice, as every call: its ids are made here, before the first attempt.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import anyio
import numpy as np
from ray.serve.handle import DeploymentHandle

from configs.graph import GraphConfig
from deployments.contracts import Embeddings, Photo
from deployments.errors import (
    PHOTO_ERRORS,
    DeadlineExceeded,
    GalleriesDisabled,
    InvalidRequest,
    UnknownGallery,
    WrongModel,
)
from deployments.gallery import contracts
from graph.gallery_schemas import (
    AuditOptions,
    AuditResponse,
    DeletedResponse,
    EnrolledPhoto,
    EnrolOptions,
    EnrolResponse,
    FaceOptions,
    FaceRecord,
    FacesResponse,
    GalleriesOptions,
    GalleriesResponse,
    GalleryOptions,
    GalleryResponse,
    GallerySettings,
    ImportRequest,
    ImportResponse,
    MergeOptions,
    MoveFaceOptions,
    MoveOptions,
    PersonChanges,
    PersonOptions,
    PersonResponse,
    PersonSettings,
    PersonsOptions,
    PersonsResponse,
    SearchOptions,
    SearchResponse,
    VerifyOptions,
    VerifyResponse,
)
from graph.pipeline import gallery_responses as responses
from graph.pipeline.judgements import Judging, enrolment_refusal, judged_search, judging
from graph.pipeline.pipeline import Pipeline, require_face
from graph.pipeline.responses import timings_of
from graph.pipeline.shared_calls import Classified
from graph.serve_private import by_reference
from graph.tracing import TimedResponse, traced

SWITCHED_OFF = (
    "this graph has no galleries; `gallery: {enabled: true}` in the application's args switches"
    " them on: docs/galleries.md"
)
# Settings of a gallery that are its recognizer pool's.
_OF_THE_POOL = ("max_uncertainty", "min_quality")
# Persons in a page of an export: some megabytes, at most.
_EXPORTED_AT_A_TIME = 200
# Bytes of an import in one call of the gallery stage.
_IMPORTED_AT_A_TIME = 4 * 1024 * 1024


P = ParamSpec("P")
Timed = TypeVar("Timed", bound=TimedResponse)


def _traced(method: Callable[P, Awaitable[Timed]]) -> Callable[P, Awaitable[Timed]]:
    """The method, whose response's timings go to the request's trace."""

    @wraps(method)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> Timed:
        return await traced(method(*args, **kwargs))

    return answered


class Galleries:
    """The requests about galleries.

    Each method raises the stages' FaceGraphErrors, GalleriesDisabled without a gallery stage, and
    DeadlineExceeded after `timeout_s`. `key` is the name of the caller's API key, for the audit.
    """

    def __init__(
        self, config: GraphConfig, pipeline: Pipeline, gallery: DeploymentHandle[Any] | None
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._handle = by_reference(gallery) if gallery else None
        self._methods: dict[str, Any] = {}
        self._pools: dict[str, str] = {}

    async def put_gallery(self, settings: GallerySettings, *, key: str) -> GalleryResponse:
        """Raises GalleryConflict if the gallery holds another recognizer's embeddings."""
        given = settings.model_dump(exclude={"gallery"}, exclude_none=True)
        name = given.get("recognizer") or await self._recognizer(settings.gallery)
        wanted = replace(self._new_settings(settings.gallery, name), **given)
        changed = [*given, *_OF_THE_POOL]
        gallery = await self._call("put_gallery", wanted, changed, key=key)
        return responses.gallery_response(gallery)

    async def get_gallery(self, options: GalleryOptions, *, key: str) -> GalleryResponse:
        return responses.gallery_response(await self._call("get_gallery", options.gallery))

    async def list_galleries(self, _: GalleriesOptions, *, key: str) -> GalleriesResponse:
        found = await self._call("list_galleries")
        return GalleriesResponse(galleries=[responses.gallery_response(one) for one in found])

    async def delete_gallery(self, options: GalleryOptions, *, key: str) -> DeletedResponse:
        return await self._deleted("delete_gallery", options.gallery, key=key)

    async def put_person(self, settings: PersonSettings, *, key: str) -> PersonResponse:
        """Raises GalleryConflict for an id that a person of other facts has."""
        person = contracts.NewPerson(
            settings.id or str(uuid4()), settings.name, settings.metadata, settings.expires_at
        )
        return responses.person_response(
            await self._call("put_person", settings.gallery, person, key=key)
        )

    async def get_person(self, options: PersonOptions, *, key: str) -> PersonResponse:
        found = await self._call("get_person", options.gallery, options.person)
        return responses.person_response(found)

    async def list_persons(self, options: PersonsOptions, *, key: str) -> PersonsResponse:
        page: contracts.PersonPage = await self._call(
            "list_persons",
            options.gallery,
            limit=options.limit,
            cursor=options.cursor,
            filter=options.filter,
        )
        return PersonsResponse(
            persons=[responses.person_response(person) for person in page.persons],
            next_cursor=page.next_cursor,
        )

    async def change_person(self, changes: PersonChanges, *, key: str) -> PersonResponse:
        given = changes.model_fields_set - PersonOptions.model_fields.keys()
        changed = {name: getattr(changes, name) for name in given}
        return responses.person_response(
            await self._call("change_person", changes.gallery, changes.person, changed, key=key)
        )

    async def delete_person(self, options: PersonOptions, *, key: str) -> DeletedResponse:
        return await self._deleted("delete_person", options.gallery, options.person, key=key)

    async def merge_persons(self, options: MergeOptions, *, key: str) -> PersonResponse:
        if options.other == options.person:
            raise InvalidRequest("other: expected another person", field="other")
        ids = options.gallery, options.person, options.other
        return responses.person_response(await self._call("merge_persons", *ids, key=key))

    async def move_person(self, options: MoveOptions, *, key: str) -> PersonResponse:
        """Raises WrongModel for a gallery of another model; GalleryConflict if it has the id."""
        if options.to == options.gallery:
            raise InvalidRequest("to: expected another gallery", field="to")
        ids = options.gallery, options.person, options.to
        return responses.person_response(await self._call("move_person", *ids, key=key))

    async def list_faces(self, options: PersonOptions, *, key: str) -> FacesResponse:
        faces = await self._call("list_faces", options.gallery, options.person)
        return FacesResponse(faces=[responses.face_record(face) for face in faces])

    async def delete_face(self, options: FaceOptions, *, key: str) -> DeletedResponse:
        ids = options.gallery, options.person, options.face
        return await self._deleted("delete_face", *ids, key=key)

    async def move_face(self, options: MoveFaceOptions, *, key: str) -> FaceRecord:
        """Raises UnknownFace if neither person has the face."""
        if options.to == options.person:
            raise InvalidRequest("to: expected another person", field="to")
        ids = options.gallery, options.person, options.face, options.to
        return responses.face_record(await self._call("move_face", *ids, key=key))

    async def audit(self, options: AuditOptions, *, key: str) -> AuditResponse:
        """A page of who changed the gallery, also of one that is deleted."""
        page = await self._call(
            "audit", options.gallery, limit=options.limit, cursor=options.cursor
        )
        return responses.audit_response(page)

    @_traced
    async def enrol(
        self, options: EnrolOptions, photos: Sequence[Photo], *, key: str
    ) -> EnrolResponse:
        """Enrol the largest face of each photo, in order; a photo that cannot be taken is refused
        alone. Raises LivenessDisabled, and UnknownPerson also if all photos are refused."""
        with self._in_time():
            return await self._enrol(options, photos, key)

    async def _enrol(
        self, options: EnrolOptions, photos: Sequence[Photo], key: str
    ) -> EnrolResponse:
        started_at = time.time()
        judge = judging(self._config, None, liveness=options.liveness)
        outcomes, spans, faces = list[EnrolledPhoto](), list[Any](), None
        for photo in (replace(one, faces="largest") for one in photos):
            try:
                if judge.liveness and (refused := await self._not_live(photo, judge)):
                    outcomes.append(refused)
                    continue
                enrolled = await self._with_embeddings(
                    "enrol",
                    options.gallery,
                    photo,
                    options.gallery,
                    options.person,
                    [_sha256(photo)],
                    key=key,
                )
            except PHOTO_ERRORS as error:
                outcomes.append(responses.refused_photo(error))
                continue
            enrolment: contracts.Enrolment = enrolled.answer
            outcomes += map(responses.enrolled_photo, enrolment.photos)
            spans += enrolment.spans
            faces = enrolment.faces
        if faces is None:  # no photo came to the gallery stage, which knows the person
            faces = (await self._call("get_person", options.gallery, options.person)).faces
        return EnrolResponse(
            person=options.person,
            photos=outcomes,
            faces=faces,
            timings=timings_of(spans, started_at),
        )

    async def _not_live(self, photo: Photo, judge: Judging) -> EnrolledPhoto | None:
        """The refusal of a photo whose face is not shown to be live; None without a face, too."""
        faces = (await self._pipeline.judged(photo, judge)).faces
        return enrolment_refusal(photo.field, faces[0]) if faces else None

    @_traced
    async def search(
        self, options: SearchOptions, photos: Sequence[Photo] = (), *, key: str
    ) -> SearchResponse:
        """Search with a photo's faces, or with the embedding of the options if there is no photo.

        Raises FaceNotFound; WrongModel for an embedding of another model than the gallery's;
        LivenessDisabled.
        """
        started_at = time.time()
        judge = judging(self._config, None, liveness=options.liveness)
        query = contracts.SearchQuery(
            options.gallery, options.top_k, options.threshold, options.filter
        )
        if not photos:
            if options.liveness:
                raise InvalidRequest("liveness: only a photo's faces have one", field="liveness")
            embedded = [[await self._embedding(options)]]  # as of a group of one request
            result = await self._call("search", embedded, query)
            return responses.search_response(result, options.top_k, started_at)
        (photo,) = photos
        photo = replace(photo, faces=options.faces, areas=judge.areas)
        found = await self._with_embeddings(
            "search", options.gallery, photo, query, classifiers=judge.pools
        )
        require_face(found.answer.found)
        response = responses.search_response(found.answer, options.top_k, started_at)
        return judged_search(response, judge, found.of_photo(0), started_at)

    @_traced
    async def verify(
        self, options: VerifyOptions, photos: Sequence[Photo], *, key: str
    ) -> VerifyResponse:
        """Raises FaceNotFound; UnknownFace for a person without faces."""
        started_at = time.time()
        (photo,) = photos
        found = await self._with_embeddings(
            "verify",
            options.gallery,
            replace(photo, faces="largest"),
            options.gallery,
            options.person,
            threshold=options.threshold,
        )
        return responses.verify_response(options.person, found.answer, started_at)

    async def export_gallery(self, options: GalleryOptions, *, key: str) -> AsyncIterator[bytes]:
        """The gallery's lines, in pieces of whole lines; the first is read before this returns, so
        that an unknown gallery is an error."""
        page = await self._exported(options.gallery, None)

        async def pages() -> AsyncIterator[bytes]:
            following = page
            while following.next_cursor is not None:
                yield following.lines
                following = await self._exported(options.gallery, following.next_cursor)
            yield following.lines

        return pages()

    async def import_lines(self, request: ImportRequest, *, key: str) -> ImportResponse:
        """Import a request's lines, in pieces; the pieces before an error stay imported."""
        total, numbered = ImportResponse(persons=0, faces=0, refused=[]), 0
        with self._in_time():
            for piece in _pieces(request.lines):
                done = await self._call("import_lines", request.gallery, piece, key=key)
                total = responses.added(total, done, numbered)
                numbered += piece.count(b"\n")
        return total

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Limit all calls of the block together to `timeout_s`. Raises DeadlineExceeded."""
        try:
            with anyio.fail_after(self._config.request_limits.timeout_s):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded("the answer was not ready in time") from error

    async def _recognizer(self, gallery: str) -> str:
        """The gallery's recognizer pool, or a new gallery's default."""
        try:
            found: contracts.Gallery = await self._call("get_gallery", gallery)
        except UnknownGallery:
            return self._config.chosen_by_default[0]
        return found.settings.recognizer

    def _new_settings(self, gallery: str, recognizer: str) -> contracts.GallerySettings:
        """Raises UnknownRecognizer."""
        self._pipeline.pools([recognizer])
        defaults, pool = self._config.gallery.defaults, self._config.recognizers[recognizer]
        return contracts.GallerySettings(
            id=gallery,
            recognizer=recognizer,
            threshold=pool.decision_threshold,
            policy=defaults.policy,
            max_faces_per_person=defaults.max_faces_per_person,
            min_margin=defaults.min_margin,
            max_uncertainty=pool.max_uncertainty,
            min_quality=pool.lowest_quality,
            scoring=defaults.scoring,
            embedding_size=pool.entry.embedding_size,
        )

    async def _embedding(self, options: SearchOptions) -> Embeddings:
        """The request's embedding, with length 1."""
        if options.embedding is None:
            raise InvalidRequest("image: expected a photo, or an embedding", field="image")
        vector = np.asarray([options.embedding], np.float64)
        length = np.linalg.norm(vector)
        if not np.isfinite(length) or not length:
            raise InvalidRequest("embedding: expected a length over 0", field="embedding")
        pool = await self._pool(options.gallery)
        return Embeddings((vector / length).astype(np.float32), None, pool, version=options.version)

    async def _deleted(self, method: str, *ids: str, key: str) -> DeletedResponse:
        done: contracts.Deleted = await self._call(method, *ids, key=key)
        return DeletedResponse(deleted=done.deleted, purged=done.purged)

    async def _exported(self, gallery: str, cursor: str | None) -> contracts.ExportPage:
        page: contracts.ExportPage = await self._call(
            "export_page", gallery, cursor=cursor, limit=_EXPORTED_AT_A_TIME
        )
        return page

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        remote = self._method(method)
        return await self._pipeline.call(remote, *args, **kwargs)

    async def _with_embeddings(
        self, method: str, gallery: str, photo: Photo, *args: Any, **kwargs: Any
    ) -> Classified[Any]:
        """Call a method with the photo's embeddings by the gallery's recognizer.

        A gallery that was deleted and made again may have another recognizer than is known here.
        """

        async def call() -> Classified[Any]:
            return await self._pipeline.call_with_embeddings(
                self._method(method), photo, await self._pool(gallery), *args, **kwargs
            )

        try:
            return await call()
        except (WrongModel, UnknownGallery):
            if self._pools.pop(gallery, None) is None:
                raise
            return await call()

    async def _pool(self, gallery: str) -> str:
        """The recognizer pool of the gallery."""
        if gallery not in self._pools:
            found: contracts.Gallery = await self._call("get_gallery", gallery)
            self._pools[gallery] = found.settings.recognizer
        return self._pools[gallery]

    def _method(self, name: str) -> Any:
        """The stage's remote method; Serve makes a new handle whenever one is looked up."""
        if self._handle is None:
            raise GalleriesDisabled(SWITCHED_OFF)
        if name not in self._methods:
            self._methods[name] = getattr(self._handle, name)
        return self._methods[name]


def _sha256(photo: Photo) -> str:
    """The SHA-256 of the photo's file, or of its pixels, in hex."""
    content = photo.content
    data = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(data).hexdigest()


def _pieces(lines: bytes) -> list[bytes]:
    """The lines in pieces of whole lines, some megabytes each."""
    pieces, start = list[bytes](), 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + _IMPORTED_AT_A_TIME) + 1
        if end <= start:  # one line is longer
            end = lines.find(b"\n", start) + 1 or len(lines)
        pieces.append(lines[start:end])
        start = end
    return pieces
