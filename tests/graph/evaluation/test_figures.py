import numpy as np
import pytest

from graph.evaluation.figures import bootstrap
from graph.evaluation.verification import PairScores, Roc, auc, roc_of, tar_at


def _tar(roc: Roc) -> "np.typing.NDArray[np.float64]":
    return np.asarray([tar_at(roc, 0.1)])


def test_the_interval_of_a_rate_is_the_binomials() -> None:
    # 900 of 1000 genuine pairs outscore every impostor pair: a binomial rate of 0.9 with a standard
    # error of sqrt(0.9 * 0.1 / 1000) = 0.0095. The interval is 1.96 standard errors on either side.
    scores = np.concatenate([np.full(900, 0.9), np.full(100, -0.9), np.linspace(0, 0.1, 500)])
    roc = roc_of(PairScores(scores, np.arange(1500) < 1000))
    low, high = bootstrap(roc, _tar, rounds=2000, seed=4)
    assert low[0] == pytest.approx(0.9 - 1.96 * 0.0095, abs=0.003)
    assert high[0] == pytest.approx(0.9 + 1.96 * 0.0095, abs=0.003)


def test_perfect_separation_has_an_interval_of_one_point_and_the_seed_determines_others() -> None:
    def area(roc: Roc) -> "np.typing.NDArray[np.float64]":
        return np.asarray([auc(roc)])

    same = np.arange(20) < 10
    apart = roc_of(PairScores(np.where(same, 0.9, 0.1), same))
    assert [float(end[0]) for end in bootstrap(apart, area, rounds=50, seed=0)] == [1.0, 1.0]
    mixed = roc_of(PairScores(np.random.default_rng(0).random(20), same))
    first, second = (bootstrap(mixed, area, rounds=50, seed=7) for _ in range(2))
    assert first[0] == second[0]
    assert first[0][0] < auc(mixed) < first[1][0]
