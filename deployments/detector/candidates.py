"""Candidates: faces in one network input, with the evidence for or against their being upright.

RetinaFace is trained on upright faces. It finds turned faces too, often with a high score, but puts
the landmarks of an upright face on them. Many anchors answer for one face; on an upright face their
landmarks agree, on a turned one they do not. On 123 portraits of public projects, each turned by
every multiple of 15 degrees, the spread was at most 0.035 of the face's size where the landmarks
were right within a quarter turn, and over it for each of the 1,800 faces where they were wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.contracts import Detections, FloatArray
from deployments.images.template import rolls

# Score of an upright view from which a turned face may hide there. Of 123 turned portraits, 97 %
# reach it at any angle, and 93 % reach 0.5; an upright portrait has 0.04 candidates below 0.5.
PROPOSAL_SCORE = 0.1
# Rows that score less say nothing about a face's landmarks.
SPREAD_SCORE = 0.05
# Largest spread of an upright face, in sizes of the face. Small faces' landmarks spread by a pixel
# in any case: the limit grows by 0.004 for each pixel that a face is smaller than 40.
_UPRIGHT_SPREAD, _FULL_SIZE, _GROWTH_PER_PX = 0.035, 40, 0.004
# Roll from which a face is looked at upright, in degrees. Up to it, landmarks give an embedding
# with a cosine over 0.95 with that of the upright face.
_TILTED = 15.0
# Size from which a candidate is looked at in other turns, in pixels of the input. Landmarks of
# smaller faces spread too much to tell how they are turned.
SMALLEST_TURNED = 24


@dataclass(frozen=True, slots=True)
class Candidates:
    """Possible faces, best first, in pixels of one input.

    spread: float32 [N], the root mean square distance of the suppressed anchors' landmarks from
    their mean, in sizes of the face (square root of the box's area).
    """

    detections: Detections
    spread: FloatArray

    def __len__(self) -> int:
        return len(self.spread)

    def select(self, indices: npt.NDArray[np.intp]) -> "Candidates":
        return Candidates(self.detections.select(indices), self.spread[indices])

    def over(self, score: float) -> "Candidates":
        return self.select(np.flatnonzero(self.detections.scores > score))

    @property
    def sizes(self) -> FloatArray:
        """Square roots of the boxes' areas, float32 [N], in pixels of the input."""
        return box_sizes(self.detections.boxes)

    @property
    def uprightness(self) -> FloatArray:
        """Rank of several views of one face, float32 [N]: the upright view has the highest."""
        rank: FloatArray = self.detections.scores - self.spread / _spread_limits(self.sizes)
        return rank

    def turned(self, score_threshold: float) -> npt.NDArray[np.bool_]:
        """True for each candidate that may be turned by more than 45 degrees, bool [N]."""
        doubtful = self.spread > _spread_limits(self.sizes)
        doubtful |= np.abs(rolls(self.detections.landmarks)) > 45
        doubtful |= self.detections.scores <= score_threshold
        return doubtful & (self.sizes >= SMALLEST_TURNED)

    def tilted(self) -> npt.NDArray[np.bool_]:
        """True for each face that is neither upright nor at a quarter turn, bool [N]."""
        residual = (rolls(self.detections.landmarks) + 45) % 90 - 45
        tilted: npt.NDArray[np.bool_] = np.abs(residual) > _TILTED
        return tilted

    @staticmethod
    def none() -> "Candidates":
        return Candidates(Detections.none(), np.zeros(0, np.float32))

    @staticmethod
    def joined(parts: Iterable["Candidates"]) -> "Candidates":
        """The candidates of all parts, which are in pixels of the same image, unsorted."""
        several = [Candidates.none(), *parts]
        found = [part.detections for part in several]
        return Candidates(
            Detections(
                np.concatenate([part.boxes for part in found]),
                np.concatenate([part.scores for part in found]),
                np.concatenate([part.landmarks for part in found]),
            ),
            np.concatenate([part.spread for part in several]),
        )


def box_sizes(boxes: FloatArray) -> FloatArray:
    """Square roots of the areas of boxes float32 [N,4]: float32 [N]."""
    sizes: FloatArray = np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1))
    return sizes


def landmark_spreads(
    groups: Sequence[npt.NDArray[np.intp]],
    boxes: FloatArray,
    scores: FloatArray,
    landmarks: FloatArray,
) -> FloatArray:
    """`Candidates.spread` of each group of overlapping rows, float32 [len(groups)].

    groups: indices of rows, the face's own first. boxes: float32 [R,4], scores: float32 [R],
    landmarks: float32 [R,5,2]. Rows are weighted by their scores.
    """
    if not groups:
        return np.zeros(0, np.float32)
    rows, starts, owner, weights = _weighted(groups, scores)
    means = np.add.reduceat(weights[:, None, None] * landmarks[rows], starts)
    squares = ((landmarks[rows] - means[owner]) ** 2).sum(axis=2) * weights[:, None]
    distances = np.sqrt(np.add.reduceat(squares, starts)).mean(axis=1)
    sizes = box_sizes(boxes[[group[0] for group in groups]])
    spreads: FloatArray = (distances / np.maximum(sizes, 1e-6)).astype(np.float32)
    return spreads


def group_means(
    groups: Sequence[npt.NDArray[np.intp]], scores: FloatArray, values: FloatArray
) -> FloatArray:
    """Means over each group of rows, weighted by the rows' scores: float32 [len(groups),...].

    scores: float32 [R], values: float32 [R,...].
    """
    if not groups:
        return values[:0]
    rows, starts, _, weights = _weighted(groups, scores)
    weights = weights.reshape(-1, *[1] * (values.ndim - 1))
    means: FloatArray = np.add.reduceat(weights * values[rows], starts)
    return means


def _weighted(
    groups: Sequence[npt.NDArray[np.intp]], scores: FloatArray
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """The groups' rows, one group after the other: their indices, the place of each group's first
    row, each row's group, and its score's share of the group's."""
    rows = np.concatenate(groups)
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    weights = scores[rows] / np.add.reduceat(scores[rows], starts)[owner]
    return rows, starts, owner, weights.astype(np.float32, copy=False)


def _spread_limits(sizes: FloatArray) -> FloatArray:
    missing = np.maximum(_FULL_SIZE - sizes, 0)
    limits: FloatArray = (_UPRIGHT_SPREAD + _GROWTH_PER_PX * missing).astype(np.float32)
    return limits
