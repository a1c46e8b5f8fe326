"""Figures worked out by hand, or compared with a count pair by pair."""

import numpy as np
import pytest

from graph.evaluation.verification import (
    PairScores,
    auc,
    d_prime,
    equal_error_rate,
    operating_point,
    roc_of,
    tar_at,
    worst_pairs,
)

GENUINE = [0.9, 0.8, 0.7, 0.4]
IMPOSTOR = [0.6, 0.3, 0.2, 0.1, 0.0]
LOWEST = -np.inf


def pairs(genuine: list[float], impostor: list[float]) -> PairScores:
    scores = np.asarray(genuine + impostor, np.float64)
    return PairScores(scores, np.arange(len(scores)) < len(genuine))


def test_auc_is_the_fraction_of_pairs_in_the_right_order() -> None:
    # 0.9, 0.8 and 0.7 outscore all five impostors, 0.4 four of them: 19 of 20.
    assert auc(roc_of(pairs(GENUINE, IMPOSTOR))) == pytest.approx(19 / 20)
    assert auc(roc_of(pairs([0.5], [0.5]))) == pytest.approx(0.5)


def test_auc_counts_ties_half_as_mann_and_whitney_do() -> None:
    generator = np.random.default_rng(3)
    genuine = np.round(generator.normal(0.4, 0.2, 80), 1)
    impostor = np.round(generator.normal(0.1, 0.2, 120), 1)
    above = (genuine[:, None] > impostor).mean()
    level = (genuine[:, None] == impostor).mean()
    found = auc(roc_of(pairs(genuine.tolist(), impostor.tolist())))
    assert level > 0.01
    assert found == pytest.approx(above + level / 2)


def test_a_far_limits_the_number_of_accepted_impostor_pairs() -> None:
    roc = roc_of(pairs(GENUINE, IMPOSTOR))
    # One of five impostor pairs may be accepted, the 0.6: every threshold above 0.3 does that.
    point = operating_point(roc, 0.2)
    assert (point.far, point.tar, point.errors) == (0.2, 1.0, 1)
    assert point.threshold == pytest.approx(0.35)  # between 0.3 and 0.4
    # No impostor pair may be accepted: the threshold must be above 0.6.
    point = operating_point(roc, 0.1)
    assert (point.far, point.tar) == (0.0, 0.75)
    assert point.threshold == pytest.approx(0.65)


def test_a_far_is_measurable_from_one_over_far_impostor_pairs_on() -> None:
    roc = roc_of(pairs(GENUINE, IMPOSTOR))
    assert operating_point(roc, 0.2).measurable
    assert not operating_point(roc, 0.1).measurable
    assert not operating_point(roc, 0.2).reliable


def test_thirty_accepted_impostors_make_a_far_reliable() -> None:
    impostor = np.linspace(0, 0.5, 300).tolist()
    roc = roc_of(pairs([0.9], impostor))
    assert operating_point(roc, 0.1).reliable
    assert not operating_point(roc, 0.09).reliable


def test_tied_impostors_are_accepted_together_or_not_at_all() -> None:
    roc = roc_of(pairs([0.9, 0.45], [0.5, 0.5, 0.1, 0.0]))
    assert operating_point(roc, 0.25).far == 0.0
    assert operating_point(roc, 0.5).far == 0.5


def test_no_threshold_accepts_where_an_impostor_scores_highest() -> None:
    point = operating_point(roc_of(pairs([0.5], [0.9, 0.1])), 0.01)
    assert (point.far, point.tar) == (0.0, 0.0)
    assert point.threshold > 0.9


def test_equal_error_rate_lies_between_the_points_around_it() -> None:
    # At 0.6: FAR 1/5, FRR 1/4. At 0.4: FAR 1/5, FRR 0. A fifth of the way: 1/5 and 1/5.
    rate, threshold = equal_error_rate(roc_of(pairs(GENUINE, IMPOSTOR)))
    assert rate == pytest.approx(0.2)
    assert 0.4 < threshold < 0.6
    assert equal_error_rate(roc_of(pairs([0.9, 0.8], [0.2, 0.1])))[0] == 0
    assert equal_error_rate(roc_of(pairs([0.1, 0.2], [0.8, 0.9])))[0] == 1


def test_d_prime_of_nine_scores() -> None:
    # Means 0.7 and 0.24; variances 0.14 / 3 and 0.212 / 4.
    expected = 0.46 / np.sqrt((0.14 / 3 + 0.212 / 4) / 2)
    assert d_prime(pairs(GENUINE, IMPOSTOR)) == pytest.approx(expected)
    assert np.isnan(d_prime(pairs([0.9], IMPOSTOR)))


def test_a_pair_that_was_not_compared_is_never_accepted() -> None:
    roc = roc_of(pairs([*GENUINE, LOWEST], [*IMPOSTOR, LOWEST]))
    # One of five genuine pairs failed to enrol; 0.6 is one of six impostor pairs.
    assert tar_at(roc, 0.2) == pytest.approx(0.8)
    assert operating_point(roc, 0.2).far == pytest.approx(1 / 6)
    everything = operating_point(roc, 0.9)
    assert np.isfinite(everything.threshold)
    assert (everything.far, everything.tar) == pytest.approx((5 / 6, 0.8))


def test_d_prime_leaves_out_what_was_not_compared() -> None:
    with_failures = pairs([*GENUINE, LOWEST], [*IMPOSTOR, LOWEST])
    assert d_prime(with_failures) == pytest.approx(d_prime(pairs(GENUINE, IMPOSTOR)))


def test_worst_pairs_come_worst_first_and_only_compared_ones() -> None:
    genuine, impostor = worst_pairs(pairs([0.9, LOWEST, 0.1, 0.3], [0.2, 0.8, LOWEST]), 2)
    assert genuine.tolist() == [2, 3]
    assert impostor.tolist() == [5, 4]
