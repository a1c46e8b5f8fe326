"""Open-set identification from embeddings: searches of known and unknown persons in galleries.

Terms and rates are those of ISO/IEC 19795-1 and of NIST's FRVT 1:N reports. A mated search is made
with a photo of an enrolled person, a non-mated search with one of a person who is not enrolled.
docs/evaluation.md defines every figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, PositiveInt

from configs.base import Config
from deployments.contracts import DoubleArray, FloatArray
from deployments.errors import InvalidRequest
from deployments.gallery.contracts import Scoring
from graph.evaluation.figures import FailurePolicy
from graph.evaluation.verification import BoolArray, IntArray, PairScores

_SEARCHES_AT_A_TIME = 256
# Steps of the cosine in which comparisons are counted: a suggested threshold has four decimals.
STEPS = 10_000


class IdentificationOptions(Config):
    """Options of an evaluation of identification."""

    sizes: tuple[PositiveInt, ...] = Field(
        default=(), description="Numbers of persons in the galleries; empty: all that are enrolled."
    )
    fpir: float = Field(
        default=1e-2, gt=0, lt=1, description="Wanted FPIR, for which a threshold is suggested."
    )
    ranks: tuple[PositiveInt, ...] = Field(
        default=(1, 5, 10), description="Ranks to give hit rates of."
    )
    non_mated: float = Field(
        default=0.3, gt=0, lt=1, description="Fraction of the persons that is not enrolled."
    )
    enrolled_photos: int = Field(
        default=3, ge=1, description="Most photos of a person that are enrolled."
    )
    failures: FailurePolicy = Field(
        default="mismatch",
        description="Searches without a face, and of a person without an enrolled face: mismatch,"
        " they find nobody; exclude, they do not count.",
    )
    bootstrap: int = Field(
        default=500,
        ge=0,
        le=100_000,
        description="Bootstrap resamples for the confidence intervals; 0 computes none.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the split and of the resamples.")


class TooFewPersons(InvalidRequest):
    """A folder has too few persons, or too few photos of them, to search for known and unknown
    persons."""


@dataclass(frozen=True, slots=True)
class Split:
    """Photos that are enrolled, and photos that are searched with.

    enrolled: the photos of each enrolled person; the first N persons are the gallery of N. mated:
    photos to search with, and the number of the person in `enrolled`. non_mated: photos of persons
    who are not enrolled. others: the number of those persons.
    """

    enrolled: Sequence[Sequence[str]]
    mated: Sequence[tuple[str, int]]
    non_mated: Sequence[str]
    others: int

    @property
    def photos(self) -> list[str]:
        known = [photo for own in self.enrolled for photo in own]
        return [*known, *(photo for photo, _ in self.mated), *self.non_mated]


def split_persons(photos: Mapping[str, Sequence[str]], options: IdentificationOptions) -> Split:
    """Draw the persons who are enrolled, in the gallery's order, and their photos, by the seed.

    photos: by person. All but one photo of an enrolled person are enrolled, up to the most; the
    rest are mated searches. A person with one photo is enrolled without a mated search. Raises
    TooFewPersons.
    """
    if len(photos) < 2:
        raise TooFewPersons(
            "open-set identification takes two persons or more, some of whom are not enrolled;"
            f" there are photos of {len(photos)}"
        )
    if all(len(own) < 2 for own in photos.values()):
        raise TooFewPersons(
            "each person has one photo: a mated search takes a second photo of an enrolled person"
        )
    generator = np.random.default_rng(options.seed)
    order = [sorted(photos)[number] for number in generator.permutation(len(photos))]
    others = min(max(round(options.non_mated * len(order)), 1), len(order) - 1)
    enrolled, mated = list[list[str]](), list[tuple[str, int]]()
    for number, person in enumerate(order[others:]):
        own = [str(photo) for photo in generator.permutation(np.asarray(sorted(photos[person])))]
        count = min(options.enrolled_photos, max(len(own) - 1, 1))
        enrolled.append(own[:count])
        mated += [(photo, number) for photo in own[count:]]
    if not mated:
        raise TooFewPersons(
            "no enrolled person has a second photo to search with: add photos, or give another"
            " --seed"
        )
    non_mated = [photo for person in order[:others] for photo in sorted(photos[person])]
    return Split(enrolled, mated, non_mated, others)


def measured_sizes(wanted: Sequence[int], enrolled: int) -> tuple[list[int], list[int]]:
    """Sizes that the enrolled persons allow, and those that only an extrapolation reaches.

    All enrolled persons are a gallery, too, if no size is wanted or a wanted one is larger.
    """
    beyond = sorted({size for size in wanted if size > enrolled})
    within = {size for size in wanted if size <= enrolled}
    if beyond or not within:
        within.add(enrolled)
    return sorted(within), beyond


@dataclass(frozen=True, slots=True)
class Candidates:
    """Similarities of the first and the second person of S searches: float64 [S], -inf where there
    is none."""

    first: DoubleArray
    second: DoubleArray

    @property
    def margin(self) -> DoubleArray:
        """By how much the first person is ahead; inf where there is no second."""
        known = np.isfinite(self.second)
        return np.where(known, self.first - np.where(known, self.second, 0), np.inf)

    def select(self, which: BoolArray) -> "Candidates":
        return Candidates(self.first[which], self.second[which])


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches in a gallery of `persons` persons.

    mated, non_mated: their candidates. mate: float64 [M], the similarity of the person shown, -inf
    if it could not be computed. rank: int64 [M], that person's, from 1; a tie counts as a worse
    rank. accepted: int64 [2 * STEPS + 1], comparisons of non-mated searches with a person whose
    similarity is at least -1, -1 + 1 / STEPS, ... 1. comparisons: all of them.
    """

    persons: int
    mated: Candidates
    non_mated: Candidates
    mate: DoubleArray
    rank: IntArray
    accepted: IntArray
    comparisons: int

    @property
    def scores(self) -> PairScores:
        """Mated searches as genuine pairs and non-mated ones as impostor pairs, so that a FAR is an
        FPIR and a TAR is 1 - FNIR. The score of a mated search is -inf where its person is not the
        first candidate."""
        hits = np.where(self.rank == 1, self.mate, -np.inf)
        same = np.arange(len(hits) + len(self.non_mated.first)) < len(hits)
        return PairScores(np.concatenate([hits, self.non_mated.first]), same)

    def fmr(self, threshold: float) -> float:
        """The false match rate of a comparison of a stranger with a person. threshold: of four
        decimals."""
        return self.accepted_at(threshold) / self.comparisons

    def accepted_at(self, threshold: float) -> int:
        return int(self.accepted[round((threshold + 1) * STEPS)])


def search_galleries(
    split: Split,
    vectors: Mapping[str, FloatArray],
    scoring: Scoring,
    sizes: Sequence[int],
    failures: FailurePolicy,
) -> list[Searches]:
    """Search galleries of the first `sizes` enrolled persons by all cosines.

    vectors: by photo, float32 [D] of length 1; photos without a face are absent.
    """
    gallery = _Gallery(split.enrolled, vectors, scoring)
    mates = np.asarray([person for _, person in split.mated], np.int64)
    known, known_has_face = _table([photo for photo, _ in split.mated], vectors)
    unknown, unknown_has_face = _table(split.non_mated, vectors)
    answers = []
    for size in sizes:
        inside = mates < size
        mated = _search(gallery, known[inside], known_has_face[inside], size, mates[inside])
        non_mated = _search(gallery, unknown, unknown_has_face, size, None)
        searches = Searches(
            size,
            mated.candidates,
            non_mated.candidates,
            mated.mate,
            mated.rank,
            non_mated.accepted,
            len(unknown) * size,
        )
        if failures == "exclude":
            faces = int(gallery.has_face[:size].sum())
            searches = _compared(searches, faces)
        answers.append(searches)
    return answers


def _compared(searches: Searches, persons_with_face: int) -> Searches:
    """Without searches and persons that have no face."""
    mated = np.isfinite(searches.mate)
    non_mated = np.isfinite(searches.non_mated.first)
    return Searches(
        searches.persons,
        searches.mated.select(mated),
        searches.non_mated.select(non_mated),
        searches.mate[mated],
        searches.rank[mated],
        searches.accepted,
        int(non_mated.sum()) * persons_with_face,
    )


class _Gallery:
    """The faces of the enrolled persons. has_face: bool [N]."""

    def __init__(
        self,
        enrolled: Sequence[Sequence[str]],
        vectors: Mapping[str, FloatArray],
        scoring: Scoring,
    ) -> None:
        counts = [len(own) for own in enrolled]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        faces, self._usable = _table([photo for own in enrolled for photo in own], vectors)
        self.has_face: BoolArray = np.logical_or.reduceat(self._usable, self._starts[:-1])
        self._faces = faces
        if scoring == "centroid":
            sums = np.add.reduceat(faces, self._starts[:-1], axis=0)
            lengths = np.linalg.norm(sums, axis=1, keepdims=True)
            lengths[lengths == 0] = 1
            self._faces = np.asarray(sums / lengths, np.float32)
            self._usable = self.has_face
            self._starts = np.arange(len(enrolled) + 1)

    def similarities(self, probes: FloatArray, persons: int) -> FloatArray:
        """Cosines float32 [S, persons] of probes [S,D] and the first persons."""
        end = self._starts[persons]
        cosines = probes @ self._faces[:end].T
        cosines[:, ~self._usable[:end]] = -np.inf
        best: FloatArray = np.maximum.reduceat(cosines, self._starts[:persons], axis=1)
        return best


def _table(
    photos: Sequence[str], vectors: Mapping[str, FloatArray]
) -> tuple[FloatArray, BoolArray]:
    """Embeddings float32 [P,D], of zeros for a photo without a face; and which photos have one."""
    empty = np.zeros(len(next(iter(vectors.values()))), np.float32)
    rows = [vectors.get(photo, empty) for photo in photos]
    has_face = np.asarray([photo in vectors for photo in photos], np.bool_)
    return np.asarray(rows, np.float32).reshape(-1, len(empty)), has_face


@dataclass(frozen=True, slots=True)
class _Found:
    candidates: Candidates
    mate: DoubleArray
    rank: IntArray
    accepted: IntArray


def _search(
    gallery: _Gallery,
    probes: FloatArray,
    has_face: BoolArray,
    persons: int,
    mates: IntArray | None,
) -> _Found:
    """Search with probes float32 [S,D]; mates: int64 [S], their persons, None for strangers."""
    first, second = np.full(len(probes), -np.inf), np.full(len(probes), -np.inf)
    mate, rank = np.full(len(probes), -np.inf), np.full(len(probes), persons + 1, np.int64)
    counts = np.zeros(2 * STEPS + 1, np.int64)
    for start in range(0, len(probes), _SEARCHES_AT_A_TIME):
        part = slice(start, start + _SEARCHES_AT_A_TIME)
        scores = gallery.similarities(probes[part], persons)
        scores[~has_face[part]] = -np.inf
        first[part] = scores.max(axis=1)
        if persons > 1:
            second[part] = np.partition(scores, -2, axis=1)[:, -2]
        if mates is None:
            counts += _counted(scores)
            continue
        own = scores[np.arange(len(scores)), mates[part]]
        mate[part] = own
        ranks = (scores >= own[:, None]).sum(axis=1)
        rank[part] = np.where(np.isfinite(own), ranks, persons + 1)
    return _Found(Candidates(first, second), mate, rank, counts[::-1].cumsum()[::-1])


def _counted(scores: FloatArray) -> IntArray:
    """Numbers of scores in each step of the cosine, int64 [2 * STEPS + 1]."""
    finite = scores[np.isfinite(scores)].astype(np.float64)
    steps = np.clip(np.floor((finite + 1) * STEPS), 0, 2 * STEPS).astype(np.int64)
    return np.bincount(steps, minlength=2 * STEPS + 1)
