import numpy as np
import pytest

from graph.evaluation.folds import (
    FoldAccuracy,
    accuracy,
    best_threshold,
    drawn_folds,
    fold_accuracy,
)
from graph.evaluation.verification import PairScores

# Fold 0: 0.9 and 0.6 are genuine, 0.5 and 0.1 are not. Fold 1: 0.8 and 0.3 are, 0.2 and 0.4 not.
SCORES = np.asarray([0.9, 0.6, 0.5, 0.1, 0.8, 0.3, 0.2, 0.4])
SAME = np.asarray([1, 1, 0, 0, 1, 1, 0, 0], np.bool_)
FOLDS = np.asarray([0, 0, 0, 0, 1, 1, 1, 1])


def test_each_fold_is_evaluated_at_the_threshold_of_the_others() -> None:
    result = fold_accuracy(PairScores(SCORES, SAME), FOLDS)
    # Fold 1 is best at 0.6 or at 0.25 (three of four right); the later is taken, and 0.5 is then
    # wrong in fold 0. Fold 0 is best at 0.55; 0.3 is then wrong in fold 1.
    assert result.thresholds.tolist() == pytest.approx([0.25, 0.55])
    assert result.accuracies.tolist() == [0.75, 0.75]


def test_standard_error_is_of_the_mean_over_folds() -> None:
    result = FoldAccuracy(np.asarray([0.9, 1.0]), np.zeros(2))
    assert result.mean == pytest.approx(0.95)
    assert result.standard_error == pytest.approx(0.05)  # 0.0707 / sqrt(2)


def test_best_threshold_lies_half_way_between_the_two_kinds() -> None:
    pairs = PairScores(np.asarray([0.8, 0.6, 0.2]), np.asarray([True, True, False]))
    assert best_threshold(pairs) == pytest.approx(0.4)
    assert accuracy(pairs, 0.4) == 1.0
    assert accuracy(pairs, 0.7) == pytest.approx(2 / 3)


def test_drawn_folds_have_as_many_of_each_kind() -> None:
    same = np.arange(250) < 100
    folds = drawn_folds(PairScores(np.zeros(250), same), seed=1)
    assert folds is not None
    assert np.bincount(folds[same]).tolist() == [10] * 10
    assert np.bincount(folds[~same]).tolist() == [15] * 10
    again = drawn_folds(PairScores(np.zeros(250), same), seed=1)
    assert again is not None
    assert (folds == again).all()


def test_few_pairs_make_fewer_folds_and_one_of_a_kind_none() -> None:
    folds = drawn_folds(PairScores(np.zeros(9), np.arange(9) < 3), seed=0)
    assert folds is not None
    assert sorted(set(folds.tolist())) == [0, 1, 2]
    assert drawn_folds(PairScores(np.zeros(9), np.arange(9) < 1), seed=0) is None
