"""Classifiers' scores as the client gets them: attributes of faces, and their liveness.

Of a face that the photo's edge cuts, of one that is too small, and of one whose surroundings the
photo lacks, nothing is decided: it is uncertain, with the reasons.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from configs.classifier import ClassifierConfig, LivenessConfig
from configs.graph import GraphConfig
from configs.spelling import did_you_mean
from deployments.contracts import ChipArea, Classes, FloatArray, FoundFaces
from deployments.errors import LivenessDisabled, UnknownClassifier
from deployments.images.margins import are_cut, area_of, visible_shares
from graph.gallery_schemas import EnrolledPhoto, EnrolmentProblem, SearchResponse
from graph.pipeline.responses import timings_of
from graph.schemas import (
    Attribute,
    CompareResponse,
    DetectResponse,
    EmbedResponse,
    Face,
    Liveness,
    Match,
    Score,
    Timing,
)

SWITCHED_OFF = (
    "liveness: this graph decides none; `classifiers` and `liveness` in the application's args"
    " switch it on: docs/models.md"
)
_HOLDS = 0.5  # score from which a label holds that excludes no other
_NO_NUMBER = "a classifier gives no number"

JudgedFace = TypeVar("JudgedFace", bound=Face)
Decided = TypeVar("Decided", bound=str)
Response = TypeVar("Response", DetectResponse, EmbedResponse)
Timed = TypeVar("Timed", DetectResponse, EmbedResponse, CompareResponse, SearchResponse)


@dataclass(frozen=True)
class Judging:
    """The judgements that a request asks for.

    pools: the classifiers to be called, by name. attributes: those of them whose labels are
    answered. liveness: None if it is not asked for.
    """

    pools: Mapping[str, ClassifierConfig]
    attributes: Sequence[str]
    liveness: LivenessConfig | None

    @property
    def areas(self) -> tuple[ChipArea, ...]:
        return tuple(dict.fromkeys(area_of(pool) for pool in self.pools.values()))

    def faces(self, faces: Sequence[JudgedFace], classes: Sequence[Classes]) -> list[JudgedFace]:
        """One photo's faces with their judgements; classes: their scores by each classifier."""
        by_pool = {one.classifier: one for one in classes}
        doubts = {name: face_doubts(one.faces, self.pools[name]) for name, one in by_pool.items()}
        return [
            face.model_copy(
                update={
                    "attributes": {
                        name: _attribute(
                            self.pools[name], by_pool[name].scores[index], doubts[name][index]
                        )
                        for name in self.attributes
                    },
                    "liveness": self._liveness_of(by_pool, doubts, index),
                }
            )
            for index, face in enumerate(faces)
        ]

    def _liveness_of(
        self,
        by_pool: Mapping[str, Classes],
        doubts: Mapping[str, Sequence[Sequence[str]]],
        index: int,
    ) -> Liveness | None:
        if self.liveness is None:
            return None
        threshold, judges = self.liveness.threshold, self.liveness.classifiers
        causes = [cause for name in judges for cause in doubts[name][index]]
        labels = {name: self.pools[name].classification.labels for name in judges}
        scores = [
            by_pool[name].scores[index, labels[name].index(self.liveness.label)] for name in judges
        ]
        score = float(np.mean(scores, dtype=np.float64))
        if not np.isfinite(score):
            causes.append(_NO_NUMBER)
        return Liveness(
            decision="uncertain" if causes else "live" if score >= threshold else "spoof",
            score=score if np.isfinite(score) else None,
            threshold=threshold,
            uncertain_because=list(dict.fromkeys(causes)),
        )


def judging(
    config: GraphConfig, attributes: Sequence[str] | None, *, liveness: bool = False
) -> Judging:
    """Raises UnknownClassifier for a pool that is not served, and LivenessDisabled."""
    pools = config.classifiers
    for name in attributes or ():
        if name not in pools:
            raise UnknownClassifier(
                f"attributes: {name!r} is not served{did_you_mean(name, pools)}; this graph has"
                f" {', '.join(pools) or 'no classifiers: docs/models.md'}",
                field="attributes",
                served=list(pools),
            )
    if liveness and config.liveness is None:
        raise LivenessDisabled(SWITCHED_OFF, field="liveness")
    judges = config.liveness.classifiers if liveness and config.liveness else ()
    names = dict.fromkeys([*(attributes or ()), *judges])
    return Judging(
        {name: pools[name] for name in names},
        attributes or (),
        config.liveness if liveness else None,
    )


def judged_faces(
    response: Response, judge: Judging, classes: Sequence[Classes], started_at: float
) -> Response:
    """The response with its photo's faces judged; classes: their scores by each classifier."""
    if not classes:
        return response
    faces = judge.faces(response.faces, classes)
    return with_timings(response.model_copy(update={"faces": faces}), classes, started_at)


def judged_comparison(
    response: CompareResponse,
    order: npt.NDArray[np.intp],
    judge: Judging,
    classes: Mapping[str, Sequence[Classes]],
    started_at: float,
) -> CompareResponse:
    """The response with judged faces and the decisions that follow from them.

    order: the indices of the matches' faces in the target. classes: by photo, only of those whose
    faces are judged: their scores by each classifier.
    """
    by_index = dict(zip(order.tolist(), [one.face for one in response.matches], strict=True))
    faces = {"source": [response.source], "target": [by_index[one] for one in sorted(by_index)]}
    for photo, scores in classes.items():
        faces[photo] = judge.faces(faces[photo], scores)
    [source], targets = faces["source"], faces["target"]
    matches = [
        _judged_match(match, source, targets[index])
        for match, index in zip(response.matches, order.tolist(), strict=True)
    ]
    matches.sort(key=lambda match: not match.matched)
    best = matches[0]
    decided = {name: getattr(best, name) for name in (*Score.model_fields, "scores")}
    judged = response.model_copy(
        update={"source": source, "target": best.face, "matches": matches, **decided}
    )
    return with_timings(judged, [one for each in classes.values() for one in each], started_at)


def with_timings(response: Timed, classes: Iterable[Classes], started_at: float) -> Timed:
    """The response with the classifiers' timings among its own."""
    timings = _in_order(response.timings, classes, started_at)
    return response.model_copy(update={"timings": timings})


def _in_order(
    timings: Iterable[Timing], classes: Iterable[Classes], started_at: float
) -> list[Timing]:
    added = timings_of((span for one in classes for span in one.spans), started_at)
    return sorted([*timings, *added], key=lambda timing: timing.start_ms)


def _judged_match(match: Match, source: Face, target: Face) -> Match:
    decision, causes = decision_with_liveness(match.decision, {"source": source, "target": target})
    return match.model_copy(
        update={
            "face": target,
            "decision": decision,
            "matched": decision == "match",
            "uncertain_because": [*causes, *match.uncertain_because],
        }
    )


def face_doubts(faces: FoundFaces, pool: ClassifierConfig) -> list[list[str]]:
    """For each face the reasons in words why the classifier can tell nothing of it."""
    boxes = faces.detections.boxes
    shorter = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    found = zip(
        are_cut(faces).tolist(),
        shorter.tolist(),
        visible_shares(faces, area_of(pool)).tolist(),
        strict=True,
    )
    return [_doubts(pool, is_cut, side, share) for is_cut, side, share in found]


def _doubts(pool: ClassifierConfig, is_cut: bool, side: float, share: float) -> list[str]:
    causes = []
    if is_cut:
        causes.append("the photo's edge cuts the face")
    least = pool.smallest_face_px
    if side < least:
        causes.append(f"the face's shorter side is {side:.0f} px, at least {least:.0f} are needed")
    if share < pool.min_visible:
        causes.append(
            f"the photo has {share:.0%} of the area of {pool.classification.scale:g} times the"
            f" face, at least {pool.min_visible:.0%} is needed"
        )
    return causes


def _attribute(pool: ClassifierConfig, scores: FloatArray, doubts: Sequence[str]) -> Attribute:
    """scores: float32 [L], of one face."""
    classification = pool.classification
    if not np.isfinite(scores).all():
        doubts, scores = [*doubts, _NO_NUMBER], np.zeros_like(scores)
    by_label = dict(zip(classification.labels, scores.tolist(), strict=True))
    if classification.activation == "softmax":
        labels = [max(by_label, key=by_label.__getitem__)]
    else:
        labels = [label for label, score in by_label.items() if score >= _HOLDS]
    return Attribute(
        labels=[] if doubts else labels, scores=by_label, uncertain_because=list(doubts)
    )


def decision_with_liveness(
    decision: Decided, faces: Mapping[str, Face]
) -> tuple[Decided | Literal["spoof", "uncertain"], list[str]]:
    """A decision, and its causes in words, once its faces' liveness is known.

    faces: by photo. A spoof is told before all else, as no other decision may rest on it.
    """
    judged = {photo: face.liveness for photo, face in faces.items() if face.liveness}
    causes = [cause for photo, found in judged.items() for cause in _causes(photo, found)]
    decisions = {found.decision for found in judged.values()}
    if "spoof" in decisions:
        return "spoof", causes
    return ("uncertain" if "uncertain" in decisions else decision), causes


def _causes(photo: str, found: Liveness) -> list[str]:
    if found.decision == "spoof":
        return [f"{photo}: liveness {found.score:.2f}, at least {found.threshold:g} is needed"]
    return [f"{photo}: liveness cannot be told: {cause}" for cause in found.uncertain_because]


def judged_search(
    response: SearchResponse, judge: Judging, classes: Sequence[Classes], started_at: float
) -> SearchResponse:
    """The response with judged faces and the decisions that follow from them."""
    if not classes:
        return response
    found = [searched.face for searched in response.faces if searched.face]
    faces = [
        searched.model_copy(
            update={
                "face": face,
                "decision": decision_with_liveness(searched.decision, {"image": face})[0],
            }
        )
        for searched, face in zip(response.faces, judge.faces(found, classes), strict=True)
    ]
    return with_timings(response.model_copy(update={"faces": faces}), classes, started_at)


def enrolment_refusal(photo: str, face: Face) -> EnrolledPhoto | None:
    """The outcome of a photo whose judged face is not live, or of which it cannot be told; None for
    a live face."""
    decision, causes = decision_with_liveness("live", {photo: face})
    if decision == "live":
        return None
    reason = "spoof" if decision == "spoof" else "liveness_uncertain"
    problem = EnrolmentProblem.model_validate({"reason": reason, "message": "; ".join(causes)})
    return EnrolledPhoto(outcome="refused", face=None, problems=[problem])
