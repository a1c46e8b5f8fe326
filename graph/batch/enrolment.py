"""Enrolment of many persons' photos into a gallery, which may be stopped and run again."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import PHOTO_ERRORS, UnknownPerson
from deployments.gallery.contracts import ID
from graph.batch.names import path_of
from graph.client.client import FaceGraph


@dataclass(frozen=True)
class PersonPhoto:
    """A photo of a person. read: returns the file; raises OSError, or FaceGraphError."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class PersonPhotos:
    """A person's photos; name: the person's, for a person who is not in the gallery yet."""

    photos: Sequence[PersonPhoto]
    name: str | None = None


@dataclass(frozen=True)
class PhotoOutcome:
    """A photo's outcome: enrolled, exists or refused; reason: why it was refused, in words."""

    photo: str
    outcome: str
    reason: str = ""


def files_of(folder: Path, names: Sequence[str]) -> PersonPhotos:
    """The photos of those names in the folder."""
    return PersonPhotos([PersonPhoto(name, (folder / path_of(name)).read_bytes) for name in names])


def person_id(name: str) -> str:
    """Another system's name of a person if it can be an id here; else an id made of it, always the
    same."""
    if re.fullmatch(ID, name):
        return name
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{readable}-{digest}" if readable else digest


def enrol_persons(
    graph: FaceGraph, gallery: str, persons: Mapping[str, PersonPhotos], *, at_a_time: int
) -> Iterator[list[PhotoOutcome]]:
    """Enrol the persons' photos, by the persons' ids; yields each person's outcomes when they are
    known, in the order of the photos.

    A photo that its person has already, by the SHA-256 of its file, is not sent. Raises
    UnknownGallery, and every error that is not about one photo; then no further person is begun.
    """
    graph.galleries.get(gallery)

    def enrolled(person: str) -> list[PhotoOutcome]:
        return list(enrol_person(graph, gallery, person, persons[person]))

    with ThreadPoolExecutor(at_a_time) as threads:
        tasks = [threads.submit(enrolled, person) for person in persons]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            threads.shutdown(cancel_futures=True)


def enrol_person(
    graph: FaceGraph, gallery: str, person: str, photos: PersonPhotos
) -> Iterator[PhotoOutcome]:
    """Enrol one person's photos. Raises as `enrol_persons`."""
    known = _known_sources(graph, gallery, person, photos.name)
    for photo in photos.photos:
        try:
            content = photo.read()
            if hashlib.sha256(content).hexdigest() in known:
                yield PhotoOutcome(photo.name, "exists")
                continue
            (done,) = graph.galleries.enrol(gallery, person, [content]).photos
        except PHOTO_ERRORS as error:
            yield PhotoOutcome(photo.name, "refused", error.message)
        except OSError as error:
            yield PhotoOutcome(photo.name, "refused", error.strerror or str(error))
        else:
            reasons = "; ".join(problem.message for problem in done.problems)
            yield PhotoOutcome(photo.name, done.outcome, reasons)


def _known_sources(graph: FaceGraph, gallery: str, person: str, name: str | None) -> set[str]:
    """The SHA-256 of each photo that the person has; a person who is missing is added."""
    try:
        faces = graph.galleries.faces(gallery, person).faces
    except UnknownPerson:
        graph.galleries.add_person(gallery, person, name=name)
        return set()
    return {face.source for face in faces if face.source}
