"""Cosines, their fusion, and the decision, for all target faces at once."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from deployments.contracts import FloatArray, Similarity


def cosines(source: FloatArray, targets: FloatArray) -> FloatArray:
    """One vector [D] against M vectors [M,D], all of length 1 -> float32 [M] in [-1,1]."""
    similarities: FloatArray = np.clip(targets @ source, -1.0, 1.0).astype(np.float32)
    return similarities


def decide(
    per_recognizer: Mapping[str, FloatArray],
    thresholds: Mapping[str, float],
    *,
    fusion: Literal["mean", "max"],
) -> Similarity:
    """Fuse each recognizer's cosines [M] and hold them against the fused threshold.

    mean: the mean cosine against the mean threshold. max: for each face the recognizer whose
    cosine lies furthest above its own threshold decides, with that cosine and threshold.
    """
    scores = np.stack(list(per_recognizer.values()))  # [R,M]
    limits = np.asarray([thresholds[name] for name in per_recognizer], np.float32)
    if fusion == "mean":
        similarity = scores.mean(axis=0)
        threshold = np.full_like(similarity, limits.mean())
    else:
        best = np.argmax(scores - limits[:, None], axis=0)
        similarity = np.take_along_axis(scores, best[None], axis=0)[0]
        threshold = limits[best]
    return Similarity(
        cosines=dict(per_recognizer),
        thresholds={name: thresholds[name] for name in per_recognizer},
        similarity=similarity,
        threshold=threshold,
        matched=similarity >= threshold,
        order=np.argsort(-similarity, kind="stable"),
    )
