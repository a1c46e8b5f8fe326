"""Scores of classifiers as attributes and liveness, and the decisions that follow from them."""

from typing import Any

import numpy as np
import pytest

from configs.aggregator import AggregatorConfig
from configs.graph import GraphConfig
from deployments.aggregator.scoring import compare
from deployments.contracts import (
    Classes,
    Comparison,
    DecisionRule,
    Detections,
    Embeddings,
    FloatArray,
    FoundFaces,
)
from deployments.errors import LivenessDisabled, UnknownClassifier
from deployments.gallery.contracts import SearchedFace, SearchResult
from graph.pipeline import gallery_responses, responses
from graph.pipeline.judgements import (
    Judging,
    face_doubts,
    judged_comparison,
    judged_search,
    judging,
)
from graph.schemas import CompareResponse, Face, Liveness

# A whole face, one that the photo's edge cuts, one that is small, one whose surroundings are not
# in the photo: at 4.0 it has 300 x 300 of 1120 x 1120 px.
WHOLE, CUT, SMALL, CLOSE = (
    (110, 110, 190, 190),
    (0, 110, 80, 190),
    (140, 140, 158, 160),
    (10, 10, 290, 290),
)


def entry(scale: float, *labels: str, **classification: Any) -> dict[str, Any]:
    return {
        "kind": "classifier",
        "title": "stand-in",
        "weights_file": "a.onnx",
        "preprocessing": {"mean": [0, 0, 0], "scale": 1, "rgb": False},
        "licence": "Apache-2.0",
        "classification": {"size": 80, "scale": scale, "labels": labels, **classification},
    }


CONFIG = GraphConfig.model_validate(
    {
        "models": {
            "near": entry(2.7, "spoof", "live", "mask"),
            "far": entry(4.0, "live", "spoof"),
            "mask": entry(1.0, "mask", activation="sigmoid"),
        },
        "classifiers": {name: {"model": name} for name in ("near", "far", "mask")},
        "liveness": {"classifiers": ["near", "far"], "threshold": 0.6},
    }
)


def found(*boxes: tuple[int, int, int, int], field: str = "image") -> FoundFaces:
    count = len(boxes)
    detections = Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.zeros((count, 5, 2), np.float32),
    )
    return FoundFaces(field, 300, 300, detections)


def classes(faces: FoundFaces, **scores: list[list[float]]) -> list[Classes]:
    return [Classes(name, np.asarray(rows, np.float32), faces) for name, rows in scores.items()]


def judged(judge: Judging, faces: FoundFaces, **scores: list[list[float]]) -> list[Face]:
    return judge.faces(responses.answered_faces(faces, None), classes(faces, **scores))


def liveness(near: float, far: float, *box: int) -> Liveness:
    """Of one face with these scores of `live`."""
    faces = found(box or WHOLE)  # type: ignore[arg-type]
    judge = judging(CONFIG, None, liveness=True)
    [face] = judged(judge, faces, near=[[0, near, 1 - near]], far=[[far, 1 - far]])
    assert face.liveness
    return face.liveness


def test_liveness_is_the_mean_score_of_its_label() -> None:
    live, spoof = liveness(0.9, 0.4), liveness(0.9, 0.2)
    assert (live.decision, live.uncertain_because) == ("live", [])
    assert live.score == pytest.approx(0.65)
    assert spoof.decision == "spoof"
    assert spoof.score == pytest.approx(0.55)
    assert spoof.threshold == 0.6


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        (CUT, "the photo's edge cuts the face"),
        (SMALL, "the face's shorter side is 18 px, at least 20 are needed"),
        (CLOSE, "the photo has 7% of the area of 4 times the face, at least 25% is needed"),
    ],
)
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_what_the_photo_does_not_show_is_never_decided(
    box: tuple[int, ...], cause: str, score: float
) -> None:
    uncertain = liveness(score, score, *box)
    assert uncertain.decision == "uncertain"
    assert cause in uncertain.uncertain_because


def test_no_number_is_no_decision() -> None:
    broken = liveness(np.nan, 0.9)
    assert (broken.decision, broken.score) == ("uncertain", None)
    assert broken.uncertain_because == ["a classifier gives no number"]


def test_attributes_name_what_holds() -> None:
    judge = judging(CONFIG, ["near", "mask"])
    first, second, cut = judged(
        judge,
        found(WHOLE, WHOLE, CUT),
        near=[[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0, 1, 0]],
        mask=[[0.7], [0.2], [0.9]],
    )
    assert first.liveness is None
    assert first.attributes["near"].labels == ["live"]
    assert first.attributes["near"].scores == pytest.approx(
        {"spoof": 0.2, "live": 0.5, "mask": 0.3}
    )
    assert first.attributes["mask"].labels == ["mask"]
    assert second.attributes["mask"].labels == []
    assert second.attributes["mask"].uncertain_because == []
    assert cut.attributes["mask"].labels == []
    assert cut.attributes["mask"].uncertain_because == ["the photo's edge cuts the face"]


def test_limits_of_the_configuration_replace_the_models() -> None:
    pool = CONFIG.classifiers["far"]
    lax = pool.model_copy(update={"min_face_px": 0, "min_visible": 0})
    assert face_doubts(found(SMALL, CLOSE), lax) == [[], []]
    assert face_doubts(found(), pool) == []


def test_a_request_calls_each_classifier_once_and_cuts_each_area_once() -> None:
    judge = judging(CONFIG, ["mask", "far"], liveness=True)
    assert list(judge.pools) == ["mask", "far", "near"]
    assert [area.scale for area in judge.areas] == [1.0, 4.0, 2.7]
    assert judging(CONFIG, None).areas == ()


def test_what_is_not_served_is_told_with_the_way_to_it() -> None:
    with pytest.raises(UnknownClassifier, match=r"'masks' is not served \(did you mean 'mask'\?\)"):
        judging(CONFIG, ["masks"])
    with pytest.raises(UnknownClassifier, match="this graph has no classifiers"):
        judging(GraphConfig(), ["mask"])
    with pytest.raises(LivenessDisabled, match="`classifiers` and `liveness` in the application's"):
        judging(GraphConfig(), None, liveness=True)


def vectors(*cosines: float) -> FloatArray:
    """Unit vectors with these cosines to the first axis."""
    return np.asarray([(cosine, np.sqrt(1 - cosine**2)) for cosine in cosines], np.float32)


def compared(source: float, *targets: float, photos: tuple[str, ...]) -> CompareResponse:
    """A comparison with two target faces, of cosine 0.9 and 0.5; each argument is a face's score of
    liveness."""
    faces = found(WHOLE, field="source"), found(*[WHOLE] * len(targets), field="target")
    embeddings = (
        Embeddings(vectors(1.0), None, "a", faces[0]),
        Embeddings(vectors(0.5, 0.9)[: len(targets)], None, "a", faces[1]),
    )
    similarity = compare([embeddings], {"a": DecisionRule(0.4)}, AggregatorConfig())
    response = responses.compare_response(Comparison(similarity, *faces, ()), 0.0)
    scores = {"source": [source], "target": list(targets)}
    by_photo = {
        photo: classes(
            one,
            near=[[0, score, 1 - score] for score in scores[photo]],
            far=[[score, 1 - score] for score in scores[photo]],
        )
        for photo, one in zip(("source", "target"), faces, strict=True)
        if photo in photos
    }
    judge = judging(CONFIG, None, liveness=True)
    return judged_comparison(response, similarity.order, judge, by_photo, 0.0)


def test_a_spoof_is_no_match_and_gives_way_to_a_live_one() -> None:
    answer = compared(0.9, 0.8, 0.1, photos=("source", "target"))
    assert (answer.decision, answer.matched) == ("match", True)
    assert answer.similarity == pytest.approx(0.5)
    assert answer.target == answer.matches[0].face
    spoof = answer.matches[1]
    assert (spoof.decision, spoof.matched) == ("spoof", False)
    assert spoof.uncertain_because == ["target: liveness 0.10, at least 0.6 is needed"]
    assert answer.source.liveness
    assert answer.source.liveness.decision == "live"


def test_a_spoof_in_the_source_is_told_in_every_match() -> None:
    answer = compared(0.2, 0.9, 0.9, photos=("source", "target"))
    assert [match.decision for match in answer.matches] == ["spoof", "spoof"]
    assert answer.decision == "spoof"
    assert answer.uncertain_because == ["source: liveness 0.20, at least 0.6 is needed"]
    assert answer.similarity == pytest.approx(0.9)


def test_only_the_named_photo_is_judged() -> None:
    answer = compared(0.2, 0.9, 0.9, photos=("target",))
    assert (answer.decision, answer.source.liveness) == ("match", None)
    assert "liveness" not in answer.source.model_dump()
    assert answer.target.liveness


def test_an_uncertain_liveness_makes_the_decision_uncertain() -> None:
    answer = compared(np.nan, 0.9, 0.9, photos=("source",))
    assert (answer.decision, answer.matched) == ("uncertain", False)
    assert answer.uncertain_because == [
        "source: liveness cannot be told: a classifier gives no number"
    ]


@pytest.mark.parametrize(
    ("score", "decision"), [(0.9, "match"), (0.1, "spoof"), (np.nan, "uncertain")]
)
def test_a_search_is_decided_with_its_faces_liveness(score: float, decision: str) -> None:
    faces = found(WHOLE)
    result = SearchResult(0.4, (SearchedFace("match", (), ()),), faces, ())
    response = gallery_responses.search_response(result, 5, 0.0)
    judge = judging(CONFIG, None, liveness=True)
    scores = classes(faces, near=[[0, score, 1 - score]], far=[[score, 1 - score]])
    [searched] = judged_search(response, judge, scores, 0.0).faces
    assert searched.decision == decision
    assert searched.face
    assert searched.face.liveness
    assert judged_search(response, judging(CONFIG, None), [], 0.0) == response
