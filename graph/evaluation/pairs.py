"""A list of pairs, millions of them perhaps: names once, pairs as indices."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray, FloatArray
from graph.evaluation.verification import BoolArray, IntArray

# Pairs whose vectors are multiplied at once.
_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Pair:
    """a, b: photos by their paths under the root, or templates by their ids. fold: None where the
    list has none."""

    a: str
    b: str
    same: bool
    fold: int | None = None


@dataclass(frozen=True, slots=True)
class PairList:
    """members: every photo or template once, in the order of the list. first, second: int64 [P],
    which of them a pair is made of. same: bool [P]. folds: int64 [P], or None where the list has
    none, or only one. format: in words."""

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
        """The pairs that one of these is in, bool [P]."""
        wanted = set(members)
        flags = np.asarray([name in wanted for name in self.members], np.bool_)
        either: BoolArray = flags[self.first] | flags[self.second]
        return either

    def of_both(self, values: Mapping[str, float]) -> tuple[DoubleArray, DoubleArray]:
        """Each pair's two values, float64 [P]; NaN for a member that has none."""
        known = np.asarray([values.get(name, np.nan) for name in self.members], np.float64)
        return known[self.first], known[self.second]

    def cosines(self, vectors: Mapping[str, FloatArray | DoubleArray]) -> DoubleArray:
        """Of vectors of length 1: float64 [P]; -inf where one of the two has none."""
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


Templates = Mapping[str, Sequence["TemplatePhoto"]]


@dataclass(frozen=True, slots=True)
class TemplatePhoto:
    """A photo or frame of a template. Frames of one video share `medium`."""

    photo: str
    medium: str


def template_vector(
    photos: Sequence[TemplatePhoto], vectors: Mapping[str, FloatArray]
) -> DoubleArray | None:
    """The template's embedding, float64 [D] of length 1; None where no photo of it has one.

    vectors: by photo, float32 [D] of length 1; photos without a face are not in it.
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


def template_vectors(
    templates: Templates, vectors: Mapping[str, FloatArray]
) -> dict[str, DoubleArray]:
    """Every template that has at least one photo with a face, by its id."""
    found = {name: template_vector(photos, vectors) for name, photos in templates.items()}
    return {name: vector for name, vector in found.items() if vector is not None}
