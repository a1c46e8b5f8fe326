import numpy as np
import pytest

from graph.evaluation.quality import quality_figures, suggested_min_quality
from graph.evaluation.verification import PairScores


def _pairs(genuine: list[float], impostor: list[float]) -> PairScores:
    scores = np.asarray([*genuine, *impostor])
    return PairScores(scores, np.arange(len(scores)) < len(genuine))


# At 0.5 the impostor pairs of quality 0.1 and 0.3 are accepted, and a genuine pair is missed.
PAIRS = _pairs([0.9, 0.8, 0.2, 0.7], [0.6, 0.0, 0.7, 0.1, 0.0])
QUALITY = np.asarray([0.9, 0.25, 0.2, 0.6, 0.1, 0.2, 0.3, 0.5, 0.8])


def test_the_lowest_limit_that_reaches_the_far_is_suggested() -> None:
    # Over 0.1 one of four impostor pairs is accepted, over 0.3 none of two.
    found = suggested_min_quality(PAIRS, QUALITY, 0.5, 0.25)
    assert (found.min_quality, found.far) == (0.1001, 0.25)
    assert (found.frr, found.genuine_rejected) == (0.25, 0)
    assert (found.impostor_pairs, found.impostors_accepted) == (4, 1)
    stricter = suggested_min_quality(PAIRS, QUALITY, 0.5, 0.2)
    assert (stricter.min_quality, stricter.far) == (0.3001, 0)
    assert (stricter.frr, stricter.genuine_rejected) == (0, 0.5)


def test_no_limit_is_needed_if_all_pairs_keep_to_the_far() -> None:
    assert suggested_min_quality(PAIRS, QUALITY, 0.5, 0.4).min_quality == 0
    assert suggested_min_quality(PAIRS, QUALITY, 0.9, 0.01).min_quality == 0


def test_a_face_of_just_the_suggested_quality_is_left() -> None:
    found = suggested_min_quality(
        _pairs([0.9], [0.9, 0.1]), np.asarray([0.5, 0.4999, 0.5]), 0.5, 0.1
    )
    assert (found.min_quality, found.genuine_rejected, found.impostor_pairs) == (0.5, 0, 1)


def test_a_far_that_no_limit_reaches_is_said_so() -> None:
    found = suggested_min_quality(_pairs([0.9], [0.1, 0.9]), np.asarray([0.3, 0.2, 0.4]), 0.5, 0.1)
    assert (found.reached, found.min_quality, found.far, found.frr) == (False, 0.4, 1, None)


@pytest.mark.parametrize(("impostors", "measurable"), [(29, False), (30, True)])
def test_a_far_takes_three_times_its_inverse_of_impostor_pairs(
    impostors: int, measurable: bool
) -> None:
    """Rule of three: no false accept among 30 says with 95% confidence that the FAR is under 0.1;
    the one impostor pair more is rejected."""
    pairs = _pairs([0.9], [*[0.9] * 10, *[0.1] * impostors])
    quality = np.asarray([0.9, *[0.2] * 10, *[0.8] * impostors])
    found = suggested_min_quality(pairs, quality, 0.5, 0.1)
    assert (found.impostor_pairs, found.measurable) == (impostors, measurable)
    assert not found.reliable


def test_pairs_without_a_score_or_a_quality_do_not_count() -> None:
    pairs = _pairs([0.9, -np.inf, 0.1], [0.1, 0.9])
    quality = np.asarray([0.9, np.nan, 0.2, 0.8, np.nan])
    found = quality_figures(pairs, quality, 0.5, 0.1)
    assert found is not None
    assert found.curve.discarded.tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    assert found.curve.frr.tolist() == [0.5, 0, 0]
    assert found.as_json()["accepted"] == [0, 0, None]  # no impostor pair is left
    assert found.suggestion.impostor_pairs == 1
    assert quality_figures(pairs, np.full(5, np.nan), 0.5, 0.1) is None
    assert quality_figures(pairs, np.asarray([1, 1, 1, np.nan, np.nan]), 0.5, 0.1) is None
