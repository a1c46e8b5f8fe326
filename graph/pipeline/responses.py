"""Conversion of the stages' answers into responses for the client.

`started_at` is the time at which the request started, in epoch seconds: timings count from it.
"""

from collections.abc import Iterable, Sequence

from deployments.contracts import (
    Comparison,
    DetectedPhoto,
    Detections,
    Embeddings,
    FoundFaces,
    Scores,
    Similarity,
    Span,
)
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
        image=_size(photo.faces),
        faces=_faces(photo.faces.detections),
        timings=_timings(photo.spans, started_at),
    )


def embed_response(parts: Sequence[Embeddings], started_at: float) -> EmbedResponse:
    """parts: one photo's embeddings by each pool."""
    found = parts[0].faces
    assert found is not None
    faces = [
        EmbeddedFace(
            **face.model_dump(),
            embeddings={part.recognizer: _embedding(part, index) for part in parts},
        )
        for index, face in enumerate(_faces(found.detections))
    ]
    spans = dict.fromkeys(span for part in parts for span in part.spans)
    return EmbedResponse(image=_size(found), faces=faces, timings=_timings(spans, started_at))


def compare_response(comparison: Comparison, started_at: float) -> CompareResponse:
    similarity, source, target = comparison.similarity, comparison.source, comparison.target
    faces = _faces(target.detections)
    matches = [_match(similarity, int(index), faces[index]) for index in similarity.order]
    best = matches[0]
    return CompareResponse(
        similarity=best.similarity,
        threshold=best.threshold,
        matched=best.matched,
        decision=best.decision,
        source=_faces(source.detections)[0],
        target=best.face,
        scores=best.scores,
        matches=matches,
        images=ComparedImages(source=_size(source), target=_size(target)),
        timings=_timings(comparison.spans, started_at),
    )


def _size(photo: FoundFaces) -> ImageSize:
    return ImageSize(width=photo.width, height=photo.height, truncated=photo.truncated)


def _faces(detections: Detections) -> list[Face]:
    return [
        Face(box=tuple(box), score=score, landmarks=[(x, y) for x, y in points])
        for box, score, points in zip(
            detections.boxes.tolist(),
            detections.scores.tolist(),
            detections.landmarks.tolist(),
            strict=True,
        )
    ]


def _embedding(part: Embeddings, index: int) -> FaceEmbedding:
    uncertainty = None if part.uncertainty is None else float(part.uncertainty[index])
    return FaceEmbedding(
        embedding=part.vectors[index].tolist(), uncertainty=uncertainty, version=part.version
    )


def _match(similarity: Similarity, index: int, face: Face) -> Match:
    matched = bool(similarity.matched[index])
    return Match(
        face=face,
        similarity=float(similarity.similarity[index]),
        threshold=float(similarity.threshold[index]),
        matched=matched,
        decision=_decision(matched, bool(similarity.uncertain[index])),
        scores={name: _score(scores, index) for name, scores in similarity.scores.items()},
    )


def _score(scores: Scores, index: int) -> RecognizerScore:
    targets = scores.target_uncertainty
    matched = bool(scores.matched[index])
    return RecognizerScore(
        similarity=float(scores.cosine[index]),
        threshold=scores.threshold,
        matched=matched,
        decision=_decision(matched, bool(scores.uncertain[index])),
        source_uncertainty=scores.source_uncertainty,
        target_uncertainty=None if targets is None else float(targets[index]),
    )


def _decision(matched: bool, uncertain: bool) -> Decision:
    if uncertain:
        return "uncertain"
    return "match" if matched else "mismatch"


def _timings(spans: Iterable[Span], started_at: float) -> list[Timing]:
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
