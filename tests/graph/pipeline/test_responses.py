"""The stages' answers as responses, from arrays made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from configs.aggregator import AggregatorConfig
from deployments.aggregator.scoring import compare
from deployments.contracts import (
    Comparison,
    DecisionRule,
    DetectedPhoto,
    Detections,
    Embeddings,
    FloatArray,
    FoundFaces,
)
from deployments.images.template import TEMPLATE
from graph.pipeline.responses import compare_response, detect_response, embed_response
from graph.schemas import CompareResponse


def floats(*values: float) -> FloatArray:
    return np.asarray(values, np.float32)


def found(field: str, count: int = 1) -> FoundFaces:
    """A photo of 300 x 200 px with upright faces."""
    faces = Detections(
        np.tile(floats(0, 0, 112, 112), (count, 1)),
        np.ones(count, np.float32),
        np.tile(TEMPLATE, (count, 1, 1)),
    )
    return FoundFaces(field, 300, 200, faces)


def embeddings(name: str, faces: FoundFaces, *quality: float) -> Embeddings:
    """The same vector for every face, in the qualities given."""
    vectors = np.tile(floats(1, 0), (len(faces), 1))
    return Embeddings(vectors, None, name, faces, quality=floats(*quality) if quality else None)


def compared(
    source: FoundFaces, target: FoundFaces, **qualities: tuple[float, ...]
) -> CompareResponse:
    """qualities: by recognizer, of the source's face and of the target's; the limit is 0.5."""
    pairs = [
        (embeddings(name, source, values[0]), embeddings(name, target, *values[1:]))
        for name, values in qualities.items()
    ]
    rules = {name: DecisionRule(0.5, min_quality=0.5) for name in qualities}
    similarity = compare(pairs, rules, AggregatorConfig())
    return compare_response(Comparison(similarity, source, target, ()), 0.0)


def test_a_poor_face_is_named_with_its_faults_its_quality_and_the_limit() -> None:
    source, target = replace(found("source"), sharpness=floats(0.25)), found("target")
    answer = compared(source, target, arcface=(0.25, 0.75))
    assert (answer.matched, answer.decision) == (False, "uncertain")
    causes = ["source: blurred; quality 0.25 by arcface, at least 0.5 is needed"]
    assert answer.uncertain_because == causes
    assert answer.scores["arcface"].uncertain_because == causes
    assert (answer.source.quality, answer.target.quality) == (0.25, 0.75)
    assert (answer.source.reasons, answer.target.reasons) == (["blurred"], [])


def test_a_face_of_exactly_the_least_quality_is_decided_on() -> None:
    answer = compared(found("source"), found("target"), arcface=(0.5, 0.5))
    assert (answer.decision, answer.uncertain_because) == ("match", [])


def test_each_target_has_its_own_decision_and_causes() -> None:
    answer = compared(found("source"), found("target", 2), arcface=(0.75, 0.25, 0.75))
    assert [match.decision for match in answer.matches] == ["match", "uncertain"]
    assert answer.matches[0].uncertain_because == []
    assert answer.matches[1].uncertain_because == [
        "target: quality 0.25 by arcface, at least 0.5 is needed"
    ]


def test_a_faces_quality_is_the_lowest_over_the_recognizers() -> None:
    answer = compared(found("source"), found("target"), one=(0.75, 0.5), two=(0.625, 0.875))
    assert (answer.source.quality, answer.target.quality) == (0.625, 0.5)
    score = answer.scores["two"]
    assert (score.source_quality, score.target_quality) == (0.625, 0.875)
    faces = found("image")
    parts = [embeddings("one", faces, 0.75), embeddings("two", faces, 0.25)]
    [face] = embed_response(parts, 0.0).faces
    assert face.quality == 0.25
    assert {name: part.quality for name, part in face.embeddings.items()} == {
        "one": 0.75,
        "two": 0.25,
    }


def test_detection_alone_gives_the_images_quality_or_none() -> None:
    faces = replace(found("image"), sharpness=floats(1))
    [face] = detect_response(DetectedPhoto(faces, (), ()), 0.0).faces
    # 1 / (1 + exp(-1.672)): a sharpness of 1 leaves the intercept.
    assert face.quality == pytest.approx(0.8418, abs=1e-4)
    assert face.reasons == []
    [unmeasured] = detect_response(DetectedPhoto(found("image"), (), ()), 0.0).faces
    assert (unmeasured.quality, unmeasured.reasons) == (None, [])


@pytest.mark.parametrize("degrees", [0, 30, 90, 179, -45, -120])
def test_roll_counts_clockwise_from_upright(degrees: float) -> None:
    """In pixels, y points down: turning (x, y) by (cos, -sin; sin, cos) is clockwise."""
    angle = np.radians(degrees)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    faces = found("image")
    landmarks = (faces.detections.landmarks @ turn.T + 40).astype(np.float32)
    turned = replace(faces, detections=replace(faces.detections, landmarks=landmarks))
    [face] = detect_response(DetectedPhoto(turned, (), ()), 0.0).faces
    assert face.roll == pytest.approx(degrees, abs=0.01)


def test_photos_with_several_like_faces_are_ambiguous() -> None:
    source, target = replace(found("source"), alike=3), found("target")
    assert compared(source, target, arcface=(1.0, 1.0)).ambiguous == {"source": 3}
    assert compared(target, target, arcface=(1.0, 1.0)).ambiguous == {}
    image = replace(found("image"), alike=2)
    assert embed_response([embeddings("arcface", image)], 0.0).ambiguous == {"image": 2}


def test_the_size_of_the_smallest_face_searched_for_is_told() -> None:
    image = replace(found("image"), searched_down_to_px=12.5)
    assert detect_response(DetectedPhoto(image, (), ()), 0.0).image.searched_down_to_px == 12.5
