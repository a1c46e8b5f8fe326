"""Lists of pairs, of photos or of templates, and their cosine scores.

A list may hold millions of pairs: each name is kept once, pairs are indices.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray, FloatArray
from graph.evaluation.verification import BoolArray, IntArray

# Pairs whose embeddings are multiplied in one step.
_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair as a list names it.

    a, b: paths of photos under the root, or ids of templates. fold: None if the list has no folds.
    """

    a: str
    b: str
    same: bool
    fold: int | None = None


@dataclass(frozen=True, slots=True)
class PairList:
    """A list of P pairs.

    members: every photo or template once, in the order of the list. first, second: int64 [P],
    indices of each pair's two members. same: bool [P]. folds: int64 [P], or None if the list has
    none or a single one. format: the list's format, for people.
    """

    members: Sequence[str]
    first: IntArray
    second: IntArray
    same: BoolArray
    folds: IntArray | None
    format: str

    def __len__(self) -> int:
        return len(self.same)

    def names(self, index: int) -> tuple[str, str]:
        return self.members[self.first[index]], self.members[self.second[index]]

    def involving(self, members: Iterable[str]) -> BoolArray:
        """Mask of the pairs with at least one of these members, bool [P]."""
        wanted = set(members)
        flags = np.asarray([name in wanted for name in self.members], np.bool_)
        either: BoolArray = flags[self.first] | flags[self.second]
        return either

    def member_values(self, values: Mapping[str, float]) -> tuple[DoubleArray, DoubleArray]:
        """The values of each pair's two members, float64 [P]; NaN for a member without a value."""
        known = np.asarray([values.get(name, np.nan) for name in self.members], np.float64)
        return known[self.first], known[self.second]

    def cosines(self, vectors: Mapping[str, FloatArray | DoubleArray]) -> DoubleArray:
        """Cosine similarity of each pair, float64 [P]; -inf if one of its members has no vector.

        vectors: by member, [D] of length 1.
        """
        scores = np.full(len(self), -np.inf)
        if not vectors:
            return scores
        length = len(next(iter(vectors.values())))
        table = np.stack([vectors.get(name, np.full(length, np.nan)) for name in self.members])
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            products = np.einsum("pd,pd->p", table[self.first[part]], table[self.second[part]])
            scores[part] = np.where(np.isnan(products), -np.inf, products)
        return scores


def pair_list(pairs: Iterable[Pair], format: str) -> PairList:
    members: dict[str, int] = {}
    first, second, same, folds = (array(kind) for kind in "qqbq")
    folded = True
    for pair in pairs:
        first.append(members.setdefault(pair.a, len(members)))
        second.append(members.setdefault(pair.b, len(members)))
        same.append(pair.same)
        folded = folded and pair.fold is not None
        folds.append(pair.fold or 0)
    return PairList(
        members=list(members),
        first=np.asarray(first, np.int64),
        second=np.asarray(second, np.int64),
        same=np.asarray(same, np.bool_),
        folds=np.asarray(folds, np.int64) if folded and len(set(folds)) > 1 else None,
        format=format,
    )


@dataclass(frozen=True, slots=True)
class TemplatePhoto:
    """A photo or video frame of a template. Frames of one video have the same `medium`."""

    photo: str
    medium: str


# Templates by id: several photos and video frames of one person, as in IJB-C's 1:1 protocol.
Templates = Mapping[str, Sequence[TemplatePhoto]]


def template_vectors(
    templates: Templates, vectors: Mapping[str, FloatArray]
) -> dict[str, DoubleArray]:
    """The embeddings of all templates with at least one face, by template."""
    found = {name: template_vector(photos, vectors) for name, photos in templates.items()}
    return {name: vector for name, vector in found.items() if vector is not None}


def template_vector(
    photos: Sequence[TemplatePhoto], vectors: Mapping[str, FloatArray]
) -> DoubleArray | None:
    """The template's embedding, float64 [D] of length 1; None if none of its photos has a vector.

    vectors: by photo, float32 [D] of length 1; photos without a face are absent. The frames of one
    medium are averaged first, then the media are added, so that a long video does not outweigh a
    photo (Crosswhite et al., Template Adaptation for Face Verification and Identification, 2016; as
    IJB-B's and IJB-C's published evaluations do).
    """
    media: dict[str, list[FloatArray]] = {}
    for item in photos:
        if item.photo in vectors:
            media.setdefault(item.medium, []).append(vectors[item.photo])
    if not media:
        return None
    total = np.sum([np.mean(frames, axis=0, dtype=np.float64) for frames in media.values()], axis=0)
    length = np.linalg.norm(total)
    unit: DoubleArray = total / length if length else total
    return unit
