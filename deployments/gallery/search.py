"""The search of a face in a gallery.

A small gallery's cosines are all computed. In a larger one, the Hamming distances of the faces'
codes choose candidates, whose cosines are then computed. The codes in this process's memory choose
them; where these are not enough, as for a filter or after deletions, a scan of the gallery's own
faces does. So filters, other galleries and deleted faces cost no recall.

Of embeddings of another length than 512, all cosines are computed: 128 bits would lose one first
place in 25 among 100,000 faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE, Embeddings, FloatArray
from deployments.errors import UnknownFace
from deployments.gallery import persons
from deployments.gallery.codes import GalleryCodes, Near
from deployments.gallery.contracts import (
    Candidate,
    Decision,
    Doubt,
    GallerySettings,
    Metadata,
    SearchedFace,
)
from deployments.gallery.database import Connection, plan_by_values
from deployments.gallery.galleries import StoredGallery
from deployments.gallery.vectors import code_of, loaded, stored, widest_distance

# Candidates for each requested person, who may have several faces among them.
_FACES_PER_PERSON = 20

# Near faces: all; those that the database chooses by codes; those of known ids, and newer ones.
_ALL = """
chosen AS (SELECT 1), near AS (
    SELECT person, id, embedding FROM faces WHERE gallery = %(gallery)s {conditions}
)
"""
_SCANNED = """
chosen AS MATERIALIZED (
    SELECT person, id, embedding FROM faces
    WHERE gallery = %(gallery)s AND code <~> %(code)s <= %(widest)s {conditions}
    ORDER BY code <~> %(code)s LIMIT %(candidates)s
), near AS (
    SELECT person, id, embedding FROM chosen
)
"""
# Lateral, and with a limit, so that each face is looked up in the one part that it can be in.
_KNOWN = """
chosen AS MATERIALIZED (
    SELECT person, id, embedding FROM unnest(%(ids)s::text[]) AS given (face), LATERAL (
        SELECT person, id, embedding FROM faces
        WHERE gallery = %(gallery)s AND id = face {conditions} LIMIT 1
    ) AS found
), near AS MATERIALIZED (
    SELECT person, id, embedding FROM chosen
    UNION ALL SELECT person, id, embedding FROM faces
    WHERE gallery = %(gallery)s AND stored_in >= %(since)s::text::xid8
    AND code <~> %(code)s <= %(widest)s {conditions}
)
"""
_NEAREST = """
WITH {near}, best AS MATERIALIZED (
    SELECT DISTINCT ON (person) person, id, -(embedding <#> %(vector)s) AS similarity FROM near
    ORDER BY person, similarity DESC
), first AS MATERIALIZED (
    SELECT person, id, {similarity} AS similarity FROM best ORDER BY 3 DESC LIMIT %(top_k)s
)
SELECT persons.id, name, metadata, first.id, similarity, (SELECT count(*) FROM chosen)
FROM first JOIN persons ON no = person
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


async def candidates(
    gallery: StoredGallery, vector: FloatArray, wanted: Wanted, codes: GalleryCodes
) -> Near | None:
    """The faces that the codes choose for `nearest`; None where the database must choose."""
    if wanted.filter or not gallery.has_codes:
        return None
    return await codes.nearest(gallery.no, vector, _most_candidates(wanted, codes.config))


async def nearest(
    connection: Connection,
    gallery: StoredGallery,
    vector: FloatArray,
    wanted: Wanted,
    near: Near | None,
    codes: GalleryCodes,
) -> list[Candidate]:
    """The persons most similar to a face, float32 [D] of length 1, by falling similarity.

    near: the face's `candidates`.
    """
    search = _Search(connection, gallery, vector, wanted)
    if near and (found := await _by_codes(search, near, codes.config)):
        return found
    is_large, expired = await _state(connection, gallery, codes.config.exact_up_to)
    if wanted.filter or is_large:
        await plan_by_values(connection)
    if not (is_large and gallery.has_codes):
        return await search.by_all(expired=expired)
    codes.keep(gallery.no)
    return await _by_scan(search, codes.config, expired=expired)


async def _by_codes(search: "_Search", near: Near, config: SearchConfig) -> list[Candidate]:
    """Empty if too few of the chosen faces are still in the gallery."""
    found, chosen = await search.run(
        _KNOWN,
        expired=True,
        ids=near.ids,
        since=str(near.since),
        widest=widest_distance(config.horizon),
    )
    wanted = _most_candidates(search.wanted, config)
    is_enough = chosen >= min(wanted, len(near.ids)) and len(found) >= search.wanted.top_k
    return found if is_enough else []


async def _by_scan(search: "_Search", config: SearchConfig, *, expired: bool) -> list[Candidate]:
    wanted, widest = _most_candidates(search.wanted, config), widest_distance(config.horizon)
    found = await search.by_scan(wanted, widest, expired=expired)
    if len(found) >= search.wanted.top_k:
        return found
    return await search.by_scan(wanted, EMBEDDING_SIZE, expired=expired)


def _most_candidates(wanted: Wanted, config: SearchConfig) -> int:
    return max(config.candidates, _FACES_PER_PERSON * wanted.top_k)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search with a face, float32 [D] of length 1."""

    connection: Connection
    gallery: StoredGallery
    vector: FloatArray
    wanted: Wanted

    async def by_all(self, *, expired: bool) -> list[Candidate]:
        """By the cosines of all faces."""
        found, _ = await self.run(_ALL, expired=expired)
        return found

    async def by_scan(self, candidates: int, widest: int, *, expired: bool) -> list[Candidate]:
        """candidates: most of them. widest: their codes' largest Hamming distance."""
        found, _ = await self.run(_SCANNED, expired=expired, candidates=candidates, widest=widest)
        return found

    async def run(
        self, near: str, *, expired: bool, **parameters: Any
    ) -> tuple[list[Candidate], int]:
        """The persons by falling similarity, and how many faces were chosen, 0 without a person.

        near: a part of _NEAREST.
        """
        conditions = self.wanted.conditions(expired=expired)
        query = _NEAREST.format(
            near=near.format(conditions=conditions),
            similarity=_CENTROID if self.gallery.settings.scoring == "centroid" else _BEST,
        )
        given = {
            "gallery": self.gallery.no,
            "code": code_of(self.vector),
            "vector": stored(self.vector),
            **self.wanted.parameters(),
            **parameters,
        }
        rows = await (await self.connection.execute(query, given, binary=True)).fetchall()
        return [Candidate(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


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
    codes: GalleryCodes,
) -> SearchedFace:
    """Search with one of a photo's faces. A margin needs a second person, also for a top_k of 1."""
    vector, two = photo.vectors[index], _at_least_two(wanted)
    near = await candidates(gallery, vector, two, codes)
    found = await nearest(connection, gallery, vector, two, near, codes)
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
    connection: Connection, gallery: StoredGallery, sample: int, codes: GalleryCodes
) -> Recall:
    """Search by candidates with a random sample of the gallery's faces, beside an exact search."""
    await plan_by_values(connection)
    faces = await (
        await connection.execute(
            "SELECT id, embedding FROM faces WHERE gallery = %s ORDER BY random() LIMIT %s",
            (gallery.no, sample),
            binary=True,
        )
    ).fetchall()
    if gallery.has_codes:
        await codes.kept(gallery.no)
    found = genuine = genuine_found = 0
    for id, embedding in faces:
        vector, wanted = loaded(embedding), Wanted(1, except_face=id)
        search = _Search(connection, gallery, vector, wanted)
        right = await search.by_all(expired=True)
        given = right
        if gallery.has_codes:
            near = await candidates(gallery, vector, wanted, codes)
            given = await _by_codes(search, near, codes.config) if near else []
            given = given or await _by_scan(search, codes.config, expired=True)
        is_found = [one.person for one in right] == [one.person for one in given]
        is_genuine = bool(right) and right[0].similarity >= gallery.settings.threshold
        found += is_found
        genuine += is_genuine
        genuine_found += is_found and is_genuine
    return Recall(len(faces), found, genuine, genuine_found)
