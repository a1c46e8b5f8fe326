"""Conversion of the gallery stage's answers into responses for the client."""

from collections.abc import Sequence

import numpy as np

from deployments.contracts import FoundFaces
from deployments.errors import FaceGraphError
from deployments.gallery import contracts
from graph.gallery_schemas import (
    AuditRecord,
    AuditResponse,
    EnrolledPhoto,
    EnrolmentProblem,
    FaceRecord,
    GalleryCandidate,
    GalleryResponse,
    ImportResponse,
    PersonResponse,
    RefusedLine,
    SearchedFace,
    SearchResponse,
    VerifyResponse,
)
from graph.pipeline.responses import ambiguous_photos, answered_faces, image_size, timings_of
from graph.schemas import Face

_MESSAGES = {
    "small": "the face is smaller than 32 px",
    "blurred": "the face is out of focus, moved, or enlarged from few pixels",
    "low_detail": "the face shows too little detail: mosaic, noise, compression, or a cover",
    "turned": "the face looks to the side",
    "profile": "the face is seen from the side",
    "face_not_found": "the photo shows no face",
    "several_faces": "the photo shows several faces of about the same size",
    "another_person": "the face is another person's of this gallery",
    "unlike_person": "the face is unlike the person's other faces",
    "too_many_faces": "the person has as many faces as the gallery allows",
}


def gallery_response(gallery: contracts.Gallery) -> GalleryResponse:
    settings = gallery.settings
    return GalleryResponse(
        id=settings.id,
        recognizer=settings.recognizer,
        version=settings.version,
        threshold=settings.threshold,
        min_margin=settings.min_margin,
        scoring=settings.scoring,
        policy=settings.policy,
        max_faces_per_person=settings.max_faces_per_person,
        persons=gallery.persons,
        faces=gallery.faces,
        created_at=gallery.created_at,
    )


def person_response(person: contracts.Person) -> PersonResponse:
    return PersonResponse(
        id=person.id,
        name=person.name,
        metadata=dict(person.metadata),
        faces=person.faces,
        created_at=person.created_at,
        updated_at=person.updated_at,
        expires_at=person.expires_at,
    )


def face_record(face: contracts.StoredFace) -> FaceRecord:
    return FaceRecord(
        id=face.id,
        box=face.box,
        score=face.score,
        quality=face.quality,
        source=face.source,
        created_at=face.created_at,
    )


def audit_response(page: contracts.AuditPage) -> AuditResponse:
    return AuditResponse(
        entries=[
            AuditRecord(
                at=entry.at,
                key=entry.key,
                action=entry.action,
                persons=list(entry.persons),
                faces=list(entry.faces),
            )
            for entry in page.entries
        ],
        next_cursor=page.next_cursor,
    )


def enrolled_photo(photo: contracts.Enrolled) -> EnrolledPhoto:
    problems = [
        EnrolmentProblem(
            reason=problem.reason,
            message=_MESSAGES[problem.reason],
            person=problem.person,
            similarity=problem.similarity,
        )
        for problem in photo.problems
    ]
    face = face_record(photo.face) if photo.face else None
    return EnrolledPhoto(outcome=photo.outcome, face=face, problems=problems)


def refused_photo(error: FaceGraphError) -> EnrolledPhoto:
    """The outcome of a photo whose face an earlier stage could not find."""
    problem = EnrolmentProblem.model_validate({"reason": error.code, "message": error.message})
    return EnrolledPhoto(outcome="refused", face=None, problems=[problem])


def search_response(
    result: contracts.SearchResult, top_k: int, started_at: float
) -> SearchResponse:
    """top_k: most candidates for a face; the stage may give more."""
    found = result.found
    faces: Sequence[Face | None] = [None] * len(result.faces)
    if found:
        faces = _faces(found, [face.quality for face in result.faces])
    return SearchResponse(
        image=image_size(found) if found else None,
        threshold=result.threshold,
        faces=[
            SearchedFace(
                face=face,
                decision=searched.decision,
                doubts=list(searched.doubts),
                candidates=[_candidate(one) for one in searched.candidates[:top_k]],
            )
            for face, searched in zip(faces, result.faces, strict=True)
        ],
        ambiguous=ambiguous_photos(found) if found else {},
        timings=timings_of(result.spans, started_at),
    )


def verify_response(
    person: str, result: contracts.Verification, started_at: float
) -> VerifyResponse:
    found = result.found
    assert found is not None
    return VerifyResponse(
        person=person,
        similarity=result.similarity,
        threshold=result.threshold,
        matched=result.decision == "match",
        decision=result.decision,
        doubts=list(result.doubts),
        face=_faces(found, [result.quality])[0],
        image=image_size(found),
        ambiguous=ambiguous_photos(found),
        timings=timings_of(result.spans, started_at),
    )


def added(total: ImportResponse, done: contracts.Imported, numbered: int) -> ImportResponse:
    """The total with one call's counts more. numbered: lines in the calls before."""
    refused = [
        RefusedLine(number=numbered + line.number, reason=line.reason) for line in done.refused
    ]
    return ImportResponse(
        persons=total.persons + done.persons,
        faces=total.faces + done.faces,
        refused=[*total.refused, *refused],
    )


def _candidate(candidate: contracts.Candidate) -> GalleryCandidate:
    return GalleryCandidate(
        person=candidate.person,
        name=candidate.name,
        metadata=dict(candidate.metadata),
        face=candidate.face,
        similarity=candidate.similarity,
    )


def _faces(found: FoundFaces, qualities: Sequence[float | None]) -> list[Face]:
    """The photo's faces, with their qualities if the recognizer gives them."""
    measured = [quality for quality in qualities if quality is not None]
    known = len(measured) == len(found)
    return answered_faces(found, np.asarray(measured, np.float32) if known else None)
