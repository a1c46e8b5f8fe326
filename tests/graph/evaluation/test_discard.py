import numpy as np
import pytest

from graph.evaluation.discard import error_versus_discard, pair_quality, pair_uncertainty
from graph.evaluation.verification import PairScores

PAIRS = PairScores(np.asarray([0.9, 0.2, 0.1, 0.8]), np.asarray([True, True, False, False]))


def test_the_most_uncertain_pairs_are_discarded_first() -> None:
    # At 0.5 the second and the fourth are decided wrongly; they are the most uncertain.
    curve = error_versus_discard(PAIRS, -np.asarray([0.0, 3.0, 1.0, 2.0]), 0.5)
    assert curve.discarded.tolist() == [0, 0.25, 0.5, 0.75]
    assert curve.error.tolist() == pytest.approx([2 / 4, 1 / 3, 0, 0])
    assert curve.frr.tolist() == pytest.approx([1 / 2, 0, 0, 0])
    assert curve.far[:3].tolist() == pytest.approx([1 / 2, 1 / 2, 0])
    assert np.isnan(curve.far[3])  # no impostor pair is left
    # Trapezoids of width 1/4, over a range of 3/4.
    assert curve.area == pytest.approx(((1 / 2 + 1 / 3) / 2 + 1 / 6) / 4 / 0.75)


def test_uninformative_uncertainty_leaves_the_error_unchanged() -> None:
    generator = np.random.default_rng(2)
    scores, same = generator.random(20_000), generator.random(20_000) < 0.5
    curve = error_versus_discard(PairScores(scores, same), generator.random(20_000), 0.5)
    assert curve.area == pytest.approx(curve.error[0], abs=0.02)


def test_pairs_of_equal_quality_are_discarded_at_once() -> None:
    curve = error_versus_discard(PAIRS, np.asarray([0.7, 0.2, 0.7, 0.2]), 0.5)
    assert curve.discarded.tolist() == [0, 0.5]
    assert (curve.frr.tolist(), curve.far.tolist()) == ([0.5, 0], [0.5, 0])


def test_a_pair_is_as_uncertain_as_its_worse_face() -> None:
    assert pair_quality(np.asarray([1.0, 0.5]), np.asarray([0.2, 0.3])).tolist() == [0.2, 0.3]
    assert pair_uncertainty(np.asarray([1.0, 5.0]), np.asarray([2.0, 3.0])).tolist() == [2, 5]


def test_a_single_pair_has_a_curve_of_one_point() -> None:
    curve = error_versus_discard(PAIRS.select(np.asarray([1, 0, 0, 0], np.bool_)), np.ones(1), 0.5)
    assert (curve.discarded.tolist(), curve.area) == ([0], 0)
