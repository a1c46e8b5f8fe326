from dataclasses import replace

import numpy as np
import pytest

from configs.aggregator import AggregatorConfig
from deployments.aggregator.scoring import compare, cosines
from deployments.contracts import DecisionRule, Embeddings, FloatArray, Similarity

MEAN, MAX = AggregatorConfig(), AggregatorConfig(fusion="max")
FUSIONS = pytest.mark.parametrize("config", [MEAN, MAX], ids=["mean", "max"])


def floats(*values: float) -> FloatArray:
    return np.asarray(values, np.float32)


def pair(
    name: str, *wanted: float, own: float | None = None, others: FloatArray | None = None
) -> tuple[Embeddings, Embeddings]:
    """Embeddings of a source, and of targets whose cosines with it are exactly `wanted`."""
    targets = np.stack([floats(cosine, (1 - cosine**2) ** 0.5) for cosine in wanted])
    return (
        Embeddings(floats(1, 0)[None], None if own is None else floats(own), name),
        Embeddings(targets, others, name),
    )


def empty(name: str) -> Embeddings:
    return Embeddings(np.zeros((0, 2), np.float32), None, name)


def test_cosines_are_one_for_each_target_in_order() -> None:
    source = floats(0.6, 0.8)
    targets = np.stack([floats(0.6, 0.8), floats(0.8, -0.6), floats(-0.6, -0.8), floats(1, 0)])
    found = cosines(source, targets)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [1, 0, -1, 0.6], atol=1e-6)


def test_rounding_takes_no_cosine_out_of_range() -> None:
    long = floats(1.0001, 0)
    assert cosines(long, np.stack([long, -long])).tolist() == [1, -1]


def test_no_targets_give_no_cosines() -> None:
    assert cosines(floats(1, 0), np.zeros((0, 2), np.float32)).shape == (0,)


def fused(config: AggregatorConfig) -> Similarity:
    """Two recognizers' scores of three faces; sums and halves are exact in binary."""
    pairs = [pair("visible", 0.75, 0.25, 0.5), pair("infrared", 0.25, 0.5, 0.375)]
    return compare(pairs, {"visible": DecisionRule(0.5), "infrared": DecisionRule(0.25)}, config)


def test_the_mean_of_cosines_is_held_against_the_mean_of_thresholds() -> None:
    decided = fused(MEAN)
    assert decided.similarity.tolist() == [0.5, 0.375, 0.4375]
    assert decided.threshold.tolist() == [0.375, 0.375, 0.375]
    assert decided.matched.tolist() == [True, True, True]
    assert decided.order.tolist() == [0, 2, 1]


def test_weights_weigh_cosines_and_thresholds_by_their_ratio() -> None:
    weights = {"infrared": 1.5, "visible": 0.5, "other": 9.0}
    decided = fused(AggregatorConfig(fusion="weighted", weights=weights))
    # (visible + 3 * infrared) / 4
    assert decided.similarity.tolist() == [0.375, 0.4375, 0.40625]
    assert decided.threshold.tolist() == [0.3125, 0.3125, 0.3125]
    assert decided.order.tolist() == [1, 2, 0]


def test_the_recognizer_furthest_above_its_threshold_decides_face_by_face() -> None:
    # Above their thresholds: visible 0.25, -0.25, 0; infrared 0, 0.25, 0.125.
    decided = fused(MAX)
    assert decided.similarity.tolist() == [0.75, 0.5, 0.375]
    assert decided.threshold.tolist() == [0.5, 0.25, 0.25]
    assert decided.matched.tolist() == [True, True, True]
    assert decided.order.tolist() == [0, 1, 2]


def test_a_match_comes_before_a_more_similar_mismatch() -> None:
    # Above their thresholds: the first face by -0.0625 and -0.125, the second by -0.25 and 0.25.
    pairs = [pair("strict", 0.5625, 0.375), pair("lenient", 0.125, 0.5)]
    decided = compare(pairs, {"strict": DecisionRule(0.625), "lenient": DecisionRule(0.25)}, MAX)
    assert decided.similarity.tolist() == [0.5625, 0.5]
    assert decided.matched.tolist() == [False, True]
    assert decided.order.tolist() == [1, 0]


@FUSIONS
def test_each_recognizers_own_scores_stay_known(config: AggregatorConfig) -> None:
    scores = fused(config).scores
    assert list(scores) == ["visible", "infrared"]
    assert scores["visible"].cosine.tolist() == [0.75, 0.25, 0.5]
    assert scores["visible"].matched.tolist() == [True, False, True]
    assert scores["infrared"].rule.threshold == 0.25
    assert scores["infrared"].matched.tolist() == [True, True, True]


@FUSIONS
def test_a_cosine_on_the_threshold_matches_and_one_below_does_not(
    config: AggregatorConfig,
) -> None:
    below = float(np.nextafter(np.float32(0.35), np.float32(0)))
    decided = compare([pair("only", 0.35, below)], {"only": DecisionRule(0.35)}, config)
    assert decided.matched.tolist() == [True, False]
    assert decided.scores["only"].matched.tolist() == [True, False]


def test_equally_similar_faces_keep_their_order() -> None:
    decided = compare([pair("only", *[0.5, 0.75] * 100)], {"only": DecisionRule(0.5)}, MEAN)
    assert decided.order.tolist() == [*range(1, 200, 2), *range(0, 200, 2)]


@FUSIONS
@pytest.mark.parametrize("missing", ["source", "target"])
def test_without_a_face_on_one_side_nothing_is_decided(
    config: AggregatorConfig, missing: str
) -> None:
    pairs = [
        (empty(name), targets) if missing == "source" else (source, empty(name))
        for name in ("one", "two")
        for source, targets in [pair(name, 0.5, 0.25)]
    ]
    decided = compare(pairs, {"one": DecisionRule(0.2), "two": DecisionRule(0.4)}, config)
    assert list(decided.scores) == ["one", "two"]
    for array in (decided.similarity, decided.threshold, decided.matched, decided.order):
        assert len(array) == 0


def test_the_source_is_the_first_face() -> None:
    source, targets = pair("only", 0.5)
    several = Embeddings(np.stack([source.vectors[0], targets.vectors[0]]), None, "only")
    assert compare([(several, targets)], {"only": DecisionRule(0.5)}, MEAN).similarity.tolist() == [
        0.5
    ]


def test_a_face_over_the_limit_of_uncertainty_is_neither_match_nor_mismatch() -> None:
    uncertain = pair("rts", 0.75, 0.75, 0.25, own=0.5, others=floats(0.5, 0.625, 0.75))
    decided = compare([uncertain], {"rts": DecisionRule(0.5, max_uncertainty=0.5)}, MEAN)
    assert decided.uncertain.tolist() == [False, True, True]
    assert decided.matched.tolist() == [True, False, False]
    scores = decided.scores["rts"]
    assert scores.matched.tolist() == [True, False, False]
    assert scores.uncertainty is not None
    assert scores.uncertainty.source == 0.5
    assert scores.uncertainty.target.tolist() == [0.5, 0.625, 0.75]


def test_an_uncertain_source_leaves_every_face_undecided() -> None:
    uncertain = pair("rts", 0.75, 0.25, own=0.75, others=floats(0.25, 0.25))
    decided = compare([uncertain], {"rts": DecisionRule(0.5, max_uncertainty=0.5)}, MEAN)
    assert decided.uncertain.tolist() == [True, True]
    assert decided.matched.tolist() == [False, False]


def test_without_a_limit_no_uncertainty_is_too_much() -> None:
    uncertain = pair("rts", 0.75, own=9.0, others=floats(9))
    decided = compare([uncertain], {"rts": DecisionRule(0.5)}, MEAN)
    assert (decided.matched.tolist(), decided.uncertain.tolist()) == ([True], [False])


def test_a_limit_says_nothing_of_a_recognizer_that_gives_no_uncertainty() -> None:
    decided = compare([pair("only", 0.75)], {"only": DecisionRule(0.5, max_uncertainty=0.1)}, MEAN)
    assert (decided.matched.tolist(), decided.uncertain.tolist()) == ([True], [False])
    assert decided.scores["only"].uncertainty is None


@FUSIONS
def test_one_uncertain_recognizer_makes_the_decision_uncertain(config: AggregatorConfig) -> None:
    pairs = [pair("sure", 0.75), pair("rts", 0.75, own=0.1, others=floats(0.9))]
    rules = {"sure": DecisionRule(0.5), "rts": DecisionRule(0.5, max_uncertainty=0.5)}
    decided = compare(pairs, rules, config)
    assert (decided.matched.tolist(), decided.uncertain.tolist()) == ([False], [True])
    assert decided.scores["sure"].matched.tolist() == [True]


def test_a_poor_face_on_either_side_is_neither_match_nor_mismatch() -> None:
    source, targets = pair("only", 0.75, 0.75, 0.25)
    rule = {"only": DecisionRule(0.5, min_quality=0.5)}
    poor_target = replace(targets, quality=floats(0.5, 0.375, 0.25))
    decided = compare([(replace(source, quality=floats(0.5)), poor_target)], rule, MEAN)
    assert decided.uncertain.tolist() == [False, True, True]
    assert decided.matched.tolist() == [True, False, False]
    measured = decided.scores["only"].quality
    assert measured is not None
    assert (measured.source, measured.target.tolist()) == (0.5, [0.5, 0.375, 0.25])
    poor_source = replace(source, quality=floats(0.375)), replace(targets, quality=floats(1, 1, 1))
    assert compare([poor_source], rule, MEAN).uncertain.tolist() == [True, True, True]


def test_without_a_limit_or_a_measure_no_quality_is_too_low() -> None:
    source, targets = pair("only", 0.75)
    measured = replace(source, quality=floats(0)), replace(targets, quality=floats(0))
    assert compare([measured], {"only": DecisionRule(0.5)}, MEAN).matched.tolist() == [True]
    limited = {"only": DecisionRule(0.5, min_quality=0.5)}
    assert compare([(source, targets)], limited, MEAN).matched.tolist() == [True]


def test_a_match_comes_before_a_more_similar_face_that_is_too_poor() -> None:
    source, targets = pair("only", 0.25, 0.875, 0.75)
    measured = replace(source, quality=floats(1)), replace(targets, quality=floats(1, 0, 1))
    decided = compare([measured], {"only": DecisionRule(0.5, min_quality=0.5)}, MEAN)
    assert decided.order.tolist() == [2, 1, 0]
