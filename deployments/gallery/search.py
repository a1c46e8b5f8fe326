"""The search of a face in a gallery.

A small gallery's cosines are all computed. In a larger one, the Hamming distances of the faces'
codes choose candidates, whose cosines are then computed: both are scans of the gallery's own faces,
in one statement, so filters, other galleries and deleted faces cost no recall.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg.types.json import Jsonb

from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE, Embeddings, FloatArray
from deployments.errors import UnknownFace
from deployments.gallery import persons
from deployments.gallery.contracts import (
    Candidate,
    Decision,
    Doubt,
    GallerySettings,
    Metadata,
    SearchedFace,
)
from deployments.gallery.database import Connection
from deployments.gallery.galleries import StoredGallery
from deployments.gallery.vectors import code_of, stored, widest_distance

# Candidates for each requested person, who may have several faces among them.
_FACES_PER_PERSON = 20

_NEAREST = """
WITH near AS MATERIALIZED (
    SELECT person, id, embedding FROM faces
    WHERE gallery = %(gallery)s AND code <~> %(code)s <= %(widest)s {conditions}
    ORDER BY code <~> %(code)s LIMIT %(candidates)s
), best AS MATERIALIZED (
    SELECT DISTINCT ON (person) person, id, -(embedding <#> %(vector)s) AS similarity FROM near
    ORDER BY person, similarity DESC
), first AS MATERIALIZED (
    SELECT person, id, {similarity} AS similarity FROM best ORDER BY 3 DESC LIMIT %(top_k)s
)
SELECT persons.id, name, metadata, first.id, similarity FROM first JOIN persons ON no = person
ORDER BY similarity DESC, persons.id
"""
_BEST = "similarity"
_CENTROID = """(
    SELECT -(l2_normalize(avg(embedding)) <#> %(vector)s) FROM faces
    WHERE gallery = %(gallery)s AND faces.person = best.person
)"""
_NOT_EXPIRED = "AND person NOT IN (SELECT no FROM persons WHERE expires_at <= now())"
_FILTER = (
    "AND person IN (SELECT no FROM persons WHERE gallery = %(gallery)s AND metadata @> %(filter)s)"
)
_OTHERS = "AND person <> %(except_person)s"
_OTHER_FACES = "AND id <> %(except_face)s"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The persons to find.

    top_k: most persons. filter: only those whose metadata have these values. except_person: the
    number of a person who is left out; except_face: the id of a face that is.
    """

    top_k: int
    filter: Metadata | None = None
    except_person: int | None = None
    except_face: str | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "top_k": self.top_k,
            "filter": Jsonb(dict(self.filter)) if self.filter else None,
            "except_person": self.except_person,
            "except_face": self.except_face,
        }

    def conditions(self, *, expired: bool) -> str:
        """expired: there are persons whose time is over."""
        return " ".join(
            (
                _NOT_EXPIRED if expired else "",
                _FILTER if self.filter else "",
                _OTHERS if self.except_person is not None else "",
                _OTHER_FACES if self.except_face is not None else "",
            )
        )


async def nearest(
    connection: Connection,
    gallery: StoredGallery,
    vector: FloatArray,
    wanted: Wanted,
    config: SearchConfig,
) -> list[Candidate]:
    """The persons most similar to a face, float32 [512] of length 1, by falling similarity."""
    is_large, expired = await _state(connection, gallery, config.exact_up_to)
    count = max(config.candidates, _FACES_PER_PERSON * wanted.top_k) if is_large else None
    scan = _Scan(wanted.conditions(expired=expired), count)
    if is_large:
        widest = widest_distance(config.horizon)
        found = await _search(connection, gallery, vector, wanted, replace(scan, widest=widest))
        if len(found) >= wanted.top_k:
            return found
    return await _search(connection, gallery, vector, wanted, scan)


async def exact(
    connection: Connection, gallery: StoredGallery, vector: FloatArray, wanted: Wanted
) -> list[Candidate]:
    """`nearest`, by the cosines of all faces."""
    conditions = wanted.conditions(expired=True)
    return await _search(connection, gallery, vector, wanted, _Scan(conditions, None))


@dataclass(frozen=True, slots=True)
class _Scan:
    """conditions: SQL's. candidates: most of them; None for all faces. widest: their codes' largest
    Hamming distance."""

    conditions: str
    candidates: int | None
    widest: int = EMBEDDING_SIZE


async def _state(
    connection: Connection, gallery: StoredGallery, exact_up_to: int
) -> tuple[bool, bool]:
    """True if the gallery has more faces than that; true if there are expired persons."""
    row = await (
        await connection.execute(
            "SELECT EXISTS (SELECT FROM faces WHERE gallery = %s OFFSET %s),"
            " EXISTS (SELECT FROM persons WHERE expires_at <= now())",
            (gallery.no, exact_up_to),
        )
    ).fetchone()
    assert row is not None
    return row[0], row[1]


async def _search(
    connection: Connection,
    gallery: StoredGallery,
    vector: FloatArray,
    wanted: Wanted,
    scan: _Scan,
) -> list[Candidate]:
    similarity = _CENTROID if gallery.settings.scoring == "centroid" else _BEST
    query = _NEAREST.format(conditions=scan.conditions, similarity=similarity)
    parameters = {
        "gallery": gallery.no,
        "code": code_of(vector),
        "vector": stored(vector),
        "candidates": scan.candidates,
        "widest": scan.widest,
        **wanted.parameters(),
    }
    rows = await (await connection.execute(query, parameters, binary=True)).fetchall()
    return [Candidate(*row) for row in rows]


async def similarity_to_person(
    connection: Connection, gallery: StoredGallery, person: str, vector: FloatArray
) -> tuple[float, str]:
    """The cosine to a person, by the gallery's scoring, and the most similar face's id.

    Raises UnknownPerson, and UnknownFace if the person has no face.
    """
    number = await persons.number_of(connection, gallery, person)
    row = await (
        await connection.execute(
            "SELECT max(-(embedding <#> %(vector)s)),"
            " (array_agg(id ORDER BY embedding <#> %(vector)s))[1],"
            " -(l2_normalize(avg(embedding)) <#> %(vector)s)"
            " FROM faces WHERE gallery = %(gallery)s AND person = %(person)s",
            {"vector": stored(vector), "gallery": gallery.no, "person": number},
        )
    ).fetchone()
    if row is None or row[0] is None:
        raise UnknownFace(f"person {person!r} has no face yet", person=person)
    return (row[2] if gallery.settings.scoring == "centroid" else row[0]), row[1]


def decide(
    settings: GallerySettings,
    similarities: Sequence[float],
    threshold: float,
    *,
    quality: float | None,
    uncertainty: float | None,
) -> tuple[Decision, tuple[Doubt, ...]]:
    """The decision on a face, and the reasons of an uncertain one.

    similarities: of the persons, falling. quality, uncertainty: the face's; None if not known.
    """
    if not similarities:
        return "no_match", ()
    doubts: list[Doubt] = []
    if quality is not None and quality < (settings.min_quality or 0):
        doubts.append("quality")
    limit = settings.max_uncertainty
    if uncertainty is not None and limit is not None and uncertainty > limit:
        doubts.append("uncertainty")
    is_match = similarities[0] >= threshold
    if is_match and similarities[1:2] and similarities[0] - similarities[1] < settings.min_margin:
        doubts.append("margin")
    if doubts:
        return "uncertain", tuple(doubts)
    return ("match" if is_match else "no_match"), ()


def measures(photo: Embeddings, index: int) -> dict[str, float | None]:
    """The quality and the uncertainty of a photo's face."""
    return {
        "quality": None if photo.quality is None else float(photo.quality[index]),
        "uncertainty": None if photo.uncertainty is None else float(photo.uncertainty[index]),
    }


async def search_face(
    connection: Connection,
    gallery: StoredGallery,
    photo: Embeddings,
    index: int,
    wanted: Wanted,
    threshold: float,
    config: SearchConfig,
) -> SearchedFace:
    """Search with one of a photo's faces. A margin needs a second person, also for a top_k of 1."""
    found = await nearest(connection, gallery, photo.vectors[index], _at_least_two(wanted), config)
    measured = measures(photo, index)
    similarities = [candidate.similarity for candidate in found]
    decision, doubts = decide(gallery.settings, similarities, threshold, **measured)
    return SearchedFace(decision, doubts, tuple(found[: wanted.top_k]), measured["quality"])


def _at_least_two(wanted: Wanted) -> Wanted:
    return Wanted(max(2, wanted.top_k), wanted.filter, wanted.except_person, wanted.except_face)


@dataclass(frozen=True, slots=True)
class Recall:
    """Faces of a gallery, searched with themselves left out.

    searched: faces. found: those of which the search found the person that all cosines give first.
    genuine, genuine_found: the same of those faces whose first person is at the threshold at least.
    """

    searched: int
    found: int
    genuine: int
    genuine_found: int


async def check_recall(
    connection: Connection, gallery: StoredGallery, sample: int, config: SearchConfig
) -> Recall:
    """Search by candidates with a random sample of the gallery's faces, beside an exact search."""
    faces = await (
        await connection.execute(
            "SELECT id, embedding FROM faces WHERE gallery = %s ORDER BY random() LIMIT %s",
            (gallery.no, sample),
            binary=True,
        )
    ).fetchall()
    always = config.model_copy(update={"exact_up_to": 0})
    found = genuine = genuine_found = 0
    for id, embedding in faces:
        vector, wanted = embedding.to_numpy().astype("float32"), Wanted(1, except_face=id)
        right = await exact(connection, gallery, vector, wanted)
        given = await nearest(connection, gallery, vector, wanted, always)
        is_found = [one.person for one in right] == [one.person for one in given]
        is_genuine = bool(right) and right[0].similarity >= gallery.settings.threshold
        found += is_found
        genuine += is_genuine
        genuine_found += is_found and is_genuine
    return Recall(len(faces), found, genuine, genuine_found)
