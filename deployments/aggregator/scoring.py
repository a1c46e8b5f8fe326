"""Cosine similarities, their fusion and the decisions, for all target faces at once."""

from collections.abc import Iterable, Sequence

import numpy as np

from configs.aggregator import AggregatorConfig
from deployments.contracts import (
    DecisionRule,
    DoubleArray,
    Embeddings,
    FloatArray,
    PairMeasure,
    Rules,
    Scores,
    Similarity,
)


def compare(
    pairs: Sequence[tuple[Embeddings, Embeddings]],
    rules: Rules,
    config: AggregatorConfig,
) -> Similarity:
    """Compare the first face of the source with every face of the target, by each recognizer.

    pairs: embeddings of the source and of the target, one pair per recognizer. rules: by
    recognizer. A source without a face gives M = 0.
    """
    scores = {
        source.recognizer: _score(source, target, rules[source.recognizer])
        for source, target in pairs
    }
    similarity, threshold = _fuse(list(scores.values()), _weights(scores, config))
    uncertain = np.any([score.uncertain for score in scores.values()], axis=0)
    matched = (similarity >= threshold.astype(np.float32)) & ~uncertain
    return Similarity(
        scores=scores,
        similarity=similarity,
        threshold=threshold,
        matched=matched,
        uncertain=uncertain,
        order=np.lexsort((threshold - similarity, ~matched)),
    )


def _fuse(scores: Sequence[Scores], weights: DoubleArray | None) -> tuple[FloatArray, DoubleArray]:
    """Fuse R recognizers' scores into similarities float32 [M] and thresholds float64 [M].

    weights: float64 [R], of sum 1, for weighted means of the cosines and of the thresholds. With
    None, each face gets the cosine that lies furthest above its own threshold, and that threshold.
    """
    cosine = np.stack([score.cosine for score in scores])  # [R,M]
    limits = np.asarray([[score.rule.threshold] for score in scores])  # [R,1]
    if weights is not None:
        similarity: FloatArray = (weights @ cosine).astype(np.float32)
        return similarity, np.full(len(similarity), weights @ limits)
    best = np.argmax(cosine - limits, axis=0)
    return np.take_along_axis(cosine, best[None], axis=0)[0], limits[best, 0]


def cosines(source: FloatArray, targets: FloatArray) -> FloatArray:
    """Cosines of a vector [D] with M vectors [M,D], all of length 1: float32 [M] in [-1,1]."""
    similarities: FloatArray = np.clip(targets @ source, -1.0, 1.0).astype(np.float32)
    return similarities


def _score(source: Embeddings, target: Embeddings, rule: DecisionRule) -> Scores:
    count = len(target) if len(source) else 0
    cosine = cosines(source.vectors[0], target.vectors) if count else np.zeros(0, np.float32)
    uncertainty = _measured(source.uncertainty, target.uncertainty, count)
    quality = _measured(source.quality, target.quality, count)
    uncertain = np.zeros(count, np.bool_)
    if uncertainty and rule.max_uncertainty is not None:
        worse = np.maximum(uncertainty.target, np.float32(uncertainty.source))
        uncertain |= worse > rule.max_uncertainty
    if quality and rule.min_quality is not None:
        uncertain |= np.minimum(quality.target, np.float32(quality.source)) < rule.min_quality
    matched = (cosine >= np.float32(rule.threshold)) & ~uncertain
    return Scores(cosine, rule, uncertainty, quality, matched, uncertain)


def _measured(
    source: FloatArray | None, target: FloatArray | None, count: int
) -> PairMeasure | None:
    if not count or source is None or target is None:
        return None
    return PairMeasure(float(source[0]), target)


def _weights(names: Iterable[str], config: AggregatorConfig) -> DoubleArray | None:
    if config.fusion == "max":
        return None
    weights = np.asarray([config.weights.get(name, 1.0) for name in names])
    normalised: DoubleArray = weights / weights.sum()
    return normalised
