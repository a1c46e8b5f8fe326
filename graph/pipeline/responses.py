"""Conversion of the stages' answers into responses for the client.

`started_at` is the time at which the request started, in epoch seconds: timings count from it.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from deployments.contracts import (
    Comparison,
    DecisionRule,
    DetectedPhoto,
    Embeddings,
    FloatArray,
    FoundFaces,
    PairMeasure,
    Reason,
    Scores,
    Similarity,
    Span,
)
from deployments.images.quality import faults, image_quality
from deployments.images.template import rolls
from graph.schemas import (
    ComparedImages,
    CompareResponse,
    Decision,
    DetectResponse,
    EmbeddedFace,
    EmbedResponse,
    Face,
    FaceEmbedding,
    ImageSize,
    Match,
    RecognizerScore,
    Timing,
)


def detect_response(photo: DetectedPhoto, started_at: float) -> DetectResponse:
    return DetectResponse(
        image=image_size(photo.faces),
        faces=answered_faces(photo.faces, None),
        timings=timings_of(photo.spans, started_at),
    )


def embed_response(parts: Sequence[Embeddings], started_at: float) -> EmbedResponse:
    """parts: one photo's embeddings by each pool."""
    found = parts[0].faces
    assert found is not None
    qualities = [part.quality for part in parts if part.quality is not None]
    faces = [
        EmbeddedFace(
            **face.model_dump(),
            embeddings={part.recognizer: _embedding(part, index) for part in parts},
        )
        for index, face in enumerate(answered_faces(found, _lowest(qualities)))
    ]
    spans = dict.fromkeys(span for part in parts for span in part.spans)
    return EmbedResponse(
        image=image_size(found),
        faces=faces,
        ambiguous=ambiguous_photos(found),
        timings=timings_of(spans, started_at),
    )


def compare_response(comparison: Comparison, started_at: float) -> CompareResponse:
    similarity, source, target = comparison.similarity, comparison.source, comparison.target
    measured = [scores.quality for scores in similarity.scores.values() if scores.quality]
    faces = answered_faces(target, _lowest([quality.target for quality in measured]))
    sources = _lowest([np.asarray([quality.source], np.float32) for quality in measured])
    source_face = answered_faces(source, sources)[0]
    matches = [
        _match(similarity, int(index), source_face, faces[index]) for index in similarity.order
    ]
    best = matches[0]
    return CompareResponse(
        similarity=best.similarity,
        threshold=best.threshold,
        matched=best.matched,
        decision=best.decision,
        uncertain_because=best.uncertain_because,
        source=source_face,
        target=best.face,
        scores=best.scores,
        matches=matches,
        images=ComparedImages(source=image_size(source), target=image_size(target)),
        ambiguous=ambiguous_photos(source, target),
        timings=timings_of(comparison.spans, started_at),
    )


def image_size(photo: FoundFaces) -> ImageSize:
    return ImageSize(
        width=photo.width,
        height=photo.height,
        truncated=photo.truncated,
        searched_down_to_px=photo.searched_down_to_px,
    )


def ambiguous_photos(*photos: FoundFaces) -> dict[str, int]:
    return {photo.field: photo.alike for photo in photos if photo.alike > 1}


def answered_faces(photo: FoundFaces, quality: FloatArray | None) -> list[Face]:
    """quality: float32 [N], by the recognizers; None takes that of the image alone."""
    detections, sharpness = photo.detections, photo.sharpness
    if quality is None and sharpness is not None:
        quality = image_quality(sharpness)
    unknown = [None] * len(photo)
    reasons: list[list[Reason]] = [[]] * len(photo)
    if quality is not None and sharpness is not None:
        reasons = faults(detections, sharpness, quality)
    return [
        Face(
            box=tuple(box),
            score=score,
            landmarks=[(x, y) for x, y in points],
            roll=roll,
            quality=value,
            reasons=found,
        )
        for box, score, points, roll, value, found in zip(
            detections.boxes.tolist(),
            detections.scores.tolist(),
            detections.landmarks.tolist(),
            rolls(detections.landmarks).tolist(),
            unknown if quality is None else quality.tolist(),
            reasons,
            strict=True,
        )
    ]


def _lowest(qualities: Sequence[FloatArray]) -> FloatArray | None:
    """The lowest of several recognizers' qualities float32 [N], by face; None without any."""
    return np.min(qualities, axis=0) if qualities else None


def _embedding(part: Embeddings, index: int) -> FaceEmbedding:
    uncertainty = None if part.uncertainty is None else float(part.uncertainty[index])
    quality = None if part.quality is None else float(part.quality[index])
    return FaceEmbedding(
        embedding=part.vectors[index].tolist(),
        uncertainty=uncertainty,
        version=part.version,
        quality=quality,
    )


def _match(similarity: Similarity, index: int, source: Face, target: Face) -> Match:
    matched = bool(similarity.matched[index])
    scores = {
        name: _score(name, scores, index, source=source, target=target)
        for name, scores in similarity.scores.items()
    }
    return Match(
        face=target,
        similarity=float(similarity.similarity[index]),
        threshold=float(similarity.threshold[index]),
        matched=matched,
        decision=_decision(matched, bool(similarity.uncertain[index])),
        uncertain_because=[cause for score in scores.values() for cause in score.uncertain_because],
        scores=scores,
    )


def _score(name: str, scores: Scores, index: int, *, source: Face, target: Face) -> RecognizerScore:
    uncertainty = _values(scores.uncertainty, index)
    quality = _values(scores.quality, index)
    matched = bool(scores.matched[index])
    causes = [
        cause
        for photo, face, doubt, fitness in zip(
            ("source", "target"), (source, target), uncertainty, quality, strict=True
        )
        for cause in _causes(photo, face.reasons, name, scores.rule, doubt, fitness)
    ]
    return RecognizerScore(
        similarity=float(scores.cosine[index]),
        threshold=scores.rule.threshold,
        matched=matched,
        decision=_decision(matched, bool(scores.uncertain[index])),
        uncertain_because=causes,
        source_uncertainty=uncertainty[0],
        target_uncertainty=uncertainty[1],
        source_quality=quality[0],
        target_quality=quality[1],
    )


def _values(measure: PairMeasure | None, index: int) -> tuple[float | None, float | None]:
    """The source's and the target face's."""
    return (measure.source, float(measure.target[index])) if measure else (None, None)


def _causes(
    photo: str,
    reasons: Sequence[Reason],
    recognizer: str,
    rule: DecisionRule,
    uncertainty: float | None,
    quality: float | None,
) -> Iterator[str]:
    """Causes in words for an uncertain decision, in one photo's face.

    The aggregator, too, compares with the limits as float32.
    """
    least, most = rule.min_quality, rule.max_uncertainty
    if quality is not None and least is not None and quality < float(np.float32(least)):
        measured = f"quality {quality:.2f} by {recognizer}, at least {least:g} is needed"
        faults = f"{', '.join(reasons)}; " if reasons else ""
        yield f"{photo}: {faults}{measured}"
    if uncertainty is not None and most is not None and uncertainty > float(np.float32(most)):
        yield f"{photo}: uncertainty {uncertainty:.3g} by {recognizer}, at most {most:g} is allowed"


def _decision(matched: bool, uncertain: bool) -> Decision:
    if uncertain:
        return "uncertain"
    return "match" if matched else "mismatch"


def timings_of(spans: Iterable[Span], started_at: float) -> list[Timing]:
    timings = (
        Timing(
            stage=span.stage,
            image=span.image,
            start_ms=round((span.started_at - started_at) * 1000, 3),
            duration_ms=round(span.duration_s * 1000, 3),
        )
        for span in spans
    )
    return sorted(timings, key=lambda timing: timing.start_ms)
