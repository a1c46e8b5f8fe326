"""Calls of the Python client about galleries."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from deployments.contracts import FaceChoice
from deployments.gallery.contracts import Policy, Scalar, Scoring
from graph.client.images import ImageLike, photo_from
from graph.client.transport import GalleryCall, Transport
from graph.gallery_schemas import (
    AuditOptions,
    AuditResponse,
    DeletedResponse,
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
from graph.schemas import Schema, validate

P = ParamSpec("P")
Answer = TypeVar("Answer", bound=BaseModel)
Options = TypeVar("Options", bound=Schema)

_GALLERY = "/v1/galleries/{gallery}"
_PERSONS = f"{_GALLERY}/persons"
_PERSON = f"{_PERSONS}/{{person}}"
_FACES = f"{_PERSON}/faces"


def _options(form: type[Options], **given: Any) -> Options:
    """The options without those that are None. Raises InvalidRequest."""
    return validate(form, {name: value for name, value in given.items() if value is not None})


def _list() -> GalleryCall[GalleriesResponse]:
    """List the galleries."""
    return GalleryCall(
        "list_galleries", GalleriesResponse, options=GalleriesOptions(), path="/v1/galleries"
    )


def _create(
    gallery: str,
    *,
    recognizer: str | None = None,
    threshold: float | None = None,
    min_margin: float | None = None,
    scoring: Scoring | None = None,
    policy: Policy | None = None,
    max_faces_per_person: int | None = None,
) -> GalleryCall[GalleryResponse]:
    """Create a gallery, or change the settings of one. None leaves a setting as it is; in a new
    gallery it stands for the configuration's value.

    Raises GalleryConflict for another recognizer than the gallery's.
    """
    options = _options(
        GallerySettings,
        gallery=gallery,
        recognizer=recognizer,
        threshold=threshold,
        min_margin=min_margin,
        scoring=scoring,
        policy=policy,
        max_faces_per_person=max_faces_per_person,
    )
    return GalleryCall("put_gallery", GalleryResponse, (), options, "PUT", _GALLERY)


def _get(gallery: str) -> GalleryCall[GalleryResponse]:
    """Return a gallery's settings and counts."""
    options = _options(GalleryOptions, gallery=gallery)
    return GalleryCall("get_gallery", GalleryResponse, (), options, "GET", _GALLERY)


def _delete(gallery: str) -> GalleryCall[DeletedResponse]:
    """Delete a gallery with all its persons and faces."""
    options = _options(GalleryOptions, gallery=gallery)
    return GalleryCall("delete_gallery", DeletedResponse, (), options, "DELETE", _GALLERY)


def _add_person(
    gallery: str,
    person: str | None = None,
    *,
    name: str | None = None,
    metadata: Mapping[str, Scalar] | None = None,
    expires_at: datetime | None = None,
) -> GalleryCall[PersonResponse]:
    """Add a person; None makes a new id. A person that is there as given is answered as it is.

    Raises GalleryConflict if the id is that of a person with other facts.
    """
    options = _options(
        PersonSettings,
        gallery=gallery,
        id=person or str(uuid4()),  # made before the first try, so that a second makes no other
        name=name,
        metadata=metadata,
        expires_at=expires_at,
    )
    return GalleryCall("put_person", PersonResponse, (), options, "POST", _PERSONS)


def _persons(
    gallery: str,
    *,
    limit: int = 100,
    cursor: str | None = None,
    filter: Mapping[str, Scalar] | None = None,
) -> GalleryCall[PersonsResponse]:
    """List persons by id, from a cursor on: the `next_cursor` of the answer before.

    filter: only persons whose metadata have these values.
    """
    options = _options(PersonsOptions, gallery=gallery, limit=limit, cursor=cursor, filter=filter)
    return GalleryCall("list_persons", PersonsResponse, (), options, "GET", _PERSONS)


def _person(gallery: str, person: str) -> GalleryCall[PersonResponse]:
    """Return a person."""
    options = _options(PersonOptions, gallery=gallery, person=person)
    return GalleryCall("get_person", PersonResponse, (), options, "GET", _PERSON)


def _change_person(gallery: str, person: str, **changes: Any) -> GalleryCall[PersonResponse]:
    """Change a person's `name`, `metadata` (all of them) or `expires_at`; None takes it away."""
    options = validate(PersonChanges, {"gallery": gallery, "person": person, **changes})
    return GalleryCall("change_person", PersonResponse, (), options, "PATCH", _PERSON)


def _delete_person(gallery: str, person: str) -> GalleryCall[DeletedResponse]:
    """Delete a person with all faces."""
    options = _options(PersonOptions, gallery=gallery, person=person)
    return GalleryCall("delete_person", DeletedResponse, (), options, "DELETE", _PERSON)


def _merge(gallery: str, person: str, other: str) -> GalleryCall[PersonResponse]:
    """Move the other person's faces to `person`, and delete the other person."""
    options = _options(MergeOptions, gallery=gallery, person=person, other=other)
    return GalleryCall("merge_persons", PersonResponse, (), options, "POST", f"{_PERSON}/merge")


def _move_person(gallery: str, person: str, to: str) -> GalleryCall[PersonResponse]:
    """Move a person with all faces to the gallery `to`.

    Raises WrongModel if it holds another model's embeddings, GalleryConflict if it has the person.
    """
    options = _options(MoveOptions, gallery=gallery, person=person, to=to)
    return GalleryCall("move_person", PersonResponse, (), options, "POST", f"{_PERSON}/move")


def _enrol(
    gallery: str, person: str, images: Sequence[ImageLike], *, liveness: bool = False
) -> GalleryCall[EnrolResponse]:
    """Enrol the largest face of each photo; each has an outcome of its own.

    liveness: refuse a face that is not live, and one of which it cannot be told. Raises
    LivenessDisabled.
    """
    photos = tuple(photo_from(f"images.{i}", image) for i, image in enumerate(images))
    options = _options(EnrolOptions, gallery=gallery, person=person, liveness=liveness or None)
    return GalleryCall("enrol", EnrolResponse, photos, options, "POST", _FACES)


def _faces(gallery: str, person: str) -> GalleryCall[FacesResponse]:
    """List a person's faces, without embeddings."""
    options = _options(PersonOptions, gallery=gallery, person=person)
    return GalleryCall("list_faces", FacesResponse, (), options, "GET", _FACES)


def _delete_face(gallery: str, person: str, face: str) -> GalleryCall[DeletedResponse]:
    """Delete one face."""
    options = _options(FaceOptions, gallery=gallery, person=person, face=face)
    return GalleryCall("delete_face", DeletedResponse, (), options, "DELETE", f"{_FACES}/{{face}}")


def _move_face(gallery: str, person: str, face: str, to: str) -> GalleryCall[FaceRecord]:
    """Give a person's face to the person `to` of the same gallery."""
    options = _options(MoveFaceOptions, gallery=gallery, person=person, face=face, to=to)
    path = f"{_FACES}/{{face}}/move"
    return GalleryCall("move_face", FaceRecord, (), options, "POST", path)


def _search(
    gallery: str,
    image: ImageLike | None = None,
    *,
    embedding: Sequence[float] | None = None,
    version: str | None = None,
    faces: FaceChoice = "largest",
    top_k: int = 5,
    threshold: float | None = None,
    filter: Mapping[str, Scalar] | None = None,
    liveness: bool = False,
) -> GalleryCall[SearchResponse]:
    """Search a photo's largest face, or all its faces, or an embedding, among the persons.

    version: the embedding's, as `embed` answers it; another than the gallery's raises WrongModel.
    filter: only persons whose metadata have these values. liveness: decide whether the photo's
    faces are live. Raises FaceNotFound, UnknownGallery, LivenessDisabled.
    """
    options = _options(
        SearchOptions,
        gallery=gallery,
        embedding=None if embedding is None else list(embedding),
        version=version,
        faces=faces,
        top_k=top_k,
        threshold=threshold,
        filter=filter,
        liveness=liveness or None,
    )
    photos = () if image is None else (photo_from("image", image),)
    return GalleryCall("search", SearchResponse, photos, options, "POST", f"{_GALLERY}/search")


def _verify(
    gallery: str, person: str, image: ImageLike, *, threshold: float | None = None
) -> GalleryCall[VerifyResponse]:
    """Compare a photo's largest face with one person."""
    options = _options(VerifyOptions, gallery=gallery, person=person, threshold=threshold)
    photos = (photo_from("image", image),)
    return GalleryCall("verify", VerifyResponse, photos, options, "POST", f"{_PERSON}/verify")


def _import_lines(gallery: str, lines: bytes) -> GalleryCall[ImportResponse]:
    """Add the persons and faces of an export's lines, at most 32 MiB of whole lines in a call."""
    options = _options(ImportRequest, gallery=gallery, lines=lines)
    return GalleryCall("import_lines", ImportResponse, (), options, "POST", f"{_GALLERY}/import")


def _audit(
    gallery: str, *, limit: int = 100, cursor: str | None = None
) -> GalleryCall[AuditResponse]:
    """List who changed the gallery, the newest entry first, from a cursor on."""
    options = _options(AuditOptions, gallery=gallery, limit=limit, cursor=cursor)
    return GalleryCall("audit", AuditResponse, (), options, "GET", f"{_GALLERY}/audit")


def _sync(
    call: Callable[P, GalleryCall[Answer]],
) -> Callable[Concatenate["Galleries", P], Answer]:
    def method(self: "Galleries", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self.transport.send(call(*args, **kwargs))

    method.__doc__ = call.__doc__
    return method


def _async(
    call: Callable[P, GalleryCall[Answer]],
) -> Callable[Concatenate["Galleries", P], Awaitable[Answer]]:
    async def method(self: "Galleries", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self.transport.send_async(call(*args, **kwargs))

    method.__doc__ = call.__doc__
    return method


class Galleries:
    """The galleries of a running graph. Each call has an `_async` twin for asyncio.

    Calls raise the errors of `deployments.errors`: GalleriesDisabled in a graph without galleries,
    UnknownGallery, UnknownPerson, Forbidden for a key without the scope.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    create, create_async = _sync(_create), _async(_create)
    list, list_async = _sync(_list), _async(_list)
    get, get_async = _sync(_get), _async(_get)
    delete, delete_async = _sync(_delete), _async(_delete)
    add_person, add_person_async = _sync(_add_person), _async(_add_person)
    persons, persons_async = _sync(_persons), _async(_persons)
    person, person_async = _sync(_person), _async(_person)
    change_person, change_person_async = _sync(_change_person), _async(_change_person)
    delete_person, delete_person_async = _sync(_delete_person), _async(_delete_person)
    merge, merge_async = _sync(_merge), _async(_merge)
    move_person, move_person_async = _sync(_move_person), _async(_move_person)
    enrol, enrol_async = _sync(_enrol), _async(_enrol)
    faces, faces_async = _sync(_faces), _async(_faces)
    delete_face, delete_face_async = _sync(_delete_face), _async(_delete_face)
    move_face, move_face_async = _sync(_move_face), _async(_move_face)
    search, search_async = _sync(_search), _async(_search)
    verify, verify_async = _sync(_verify), _async(_verify)
    audit, audit_async = _sync(_audit), _async(_audit)
    import_lines, import_lines_async = _sync(_import_lines), _async(_import_lines)

    def export(self, gallery: str) -> Iterator[bytes]:
        """All persons and faces, with embeddings, as NDJSON in pieces of bytes."""
        options = _options(GalleryOptions, gallery=gallery)
        call = GalleryCall(
            "export_gallery", ImportResponse, (), options, "GET", f"{_GALLERY}/export"
        )
        return self.transport.stream(call)
