"""Identification's figures, worked out by hand for persons on the axes of a small space."""

import numpy as np
import pytest

from deployments.contracts import FloatArray
from deployments.gallery.contracts import Scoring
from graph.evaluation.identification import (
    STEPS,
    Candidates,
    IdentificationOptions,
    Searches,
    Split,
    TooFewPersons,
    measured_sizes,
    search_galleries,
    split_persons,
)
from graph.evaluation.identification_figures import (
    extrapolate,
    identification_figures,
    margin_rates,
    min_margin,
    proportion,
    rates_at,
)

NO_INTERVALS = IdentificationOptions(bootstrap=0)
# Three persons, one face each; m3 shows the third, without a face.
SPLIT = Split(
    enrolled=[["p0"], ["p1"], ["p2"]],
    mated=[("m0", 0), ("m1", 1), ("m2", 2), ("m3", 2)],
    non_mated=["s0", "s1", "s2", "s3"],
    others=4,
)


def unit(*cosines: float) -> FloatArray:
    """A vector of length 1 with these cosines to the first axes."""
    return np.asarray([*cosines, np.sqrt(1 - np.square(cosines).sum())], np.float32)


VECTORS = {
    **{f"p{axis}": np.eye(4, dtype=np.float32)[axis] for axis in range(3)},
    "m0": unit(0.8, 0.1, 0.2),
    "m1": unit(0.5, 0.45, 0),
    "m2": unit(0.1, 0.2, 0.3),
    "s0": unit(0.6, 0, 0),
    "s1": unit(0.1, 0.35, 0.1),
    "s2": unit(0.05, 0.02, 0.01),
    "s3": unit(-0.1, -0.2, -0.3),
}


@pytest.fixture(scope="module")
def searches() -> Searches:
    [found] = search_galleries(SPLIT, VECTORS, "best", [3], "mismatch")
    return found


def test_a_search_finds_the_most_similar_persons(searches: Searches) -> None:
    assert searches.mated.first[:3] == pytest.approx([0.8, 0.5, 0.3])
    assert searches.mated.second[:3] == pytest.approx([0.2, 0.45, 0.2])
    assert searches.mate[:3] == pytest.approx([0.8, 0.45, 0.3])
    # m1 is more similar to the first person; m3 has no face, and no rank among three.
    assert searches.rank.tolist() == [1, 2, 1, 4]
    assert searches.non_mated.first == pytest.approx([0.6, 0.35, 0.05, -0.1])


def test_fpir_and_fnir_count_searches(searches: Searches) -> None:
    rates = rates_at(searches, 0.4)
    # Of the strangers s0 reaches 0.4. m1 finds the wrong person, m2 is below, m3 has no face.
    assert rates.fpir.value == 1 / 4
    assert rates.fnir.value == 3 / 4
    assert rates.misidentified.value == 1 / 4


def test_a_failure_is_a_miss_or_does_not_count() -> None:
    [found] = search_galleries(SPLIT, VECTORS, "best", [3], "exclude")
    assert rates_at(found, 0.4).fnir.value == pytest.approx(2 / 3)
    assert found.comparisons == 4 * 3
    without_p1 = {photo: vector for photo, vector in VECTORS.items() if photo != "p1"}
    [found] = search_galleries(SPLIT, without_p1, "best", [3], "exclude")
    # m1 shows a person without an enrolled face; two persons are left to compare with.
    assert (len(found.mate), found.comparisons) == (2, 4 * 2)
    [found] = search_galleries(SPLIT, without_p1, "best", [3], "mismatch")
    assert found.rank.tolist() == [1, 4, 1, 4]


def test_a_smaller_gallery_has_the_first_persons_and_their_searches() -> None:
    one, three = search_galleries(SPLIT, VECTORS, "best", [1, 3], "mismatch")
    assert (one.persons, len(one.mate), len(three.mate)) == (1, 1, 4)
    assert one.non_mated.first == pytest.approx([0.6, 0.1, 0.05, -0.1])
    assert np.isinf(one.mated.margin).all()  # there is no second person
    assert (one.comparisons, three.comparisons) == (4, 12)


def test_the_fmr_counts_comparisons(searches: Searches) -> None:
    # Of 4 x 3 cosines of strangers 0.6 and 0.35 reach 0.3; 0.6, 0.35 and twice 0.1 reach 0.09.
    assert searches.fmr(0.3) == pytest.approx(2 / 12)
    assert searches.fmr(0.09) == pytest.approx(4 / 12)
    assert searches.fmr(-1.0) == 1


def test_ranks_thresholds_and_the_det_curve(searches: Searches) -> None:
    figures = identification_figures(
        searches, "best", 0.4, IdentificationOptions(fpir=0.25, bootstrap=0, ranks=(1, 2))
    )
    assert [entry.rate.value for entry in figures.rank_rates] == [2 / 4, 3 / 4]
    # One of four strangers may be returned, with 0.6: the threshold lies half way to the next
    # score, 0.35. Of the three persons who are first, or should be, only m0 reaches it.
    assert figures.suggestion.measurable
    assert figures.suggestion.rates.fpir.value == 1 / 4
    assert figures.suggestion.rates.threshold == pytest.approx(0.475, abs=2e-4)
    assert figures.suggestion.rates.fnir.value == 3 / 4
    assert figures.fnir_at_fpir[0].fnir is None  # 0.1 takes ten strangers
    # m0 is found before any stranger is returned; at the lowest threshold all are accepted.
    assert (figures.det.fpir[0], figures.det.fnir[0]) == (0, 3 / 4)
    assert (figures.det.fpir[-1], figures.det.fnir[-1]) == (1, 0)


def test_a_margin_makes_close_matches_uncertain(searches: Searches) -> None:
    # m1's wrong person is 0.05 ahead; m0's and s0's are 0.6 ahead.
    rates = margin_rates(searches, 0.4, 0.1)
    assert (rates.misidentified, rates.uncertain_mated) == (0, 1 / 4)
    assert (rates.fpir, rates.uncertain_non_mated, rates.fnir) == (1 / 4, 0, 3 / 4)
    margin = min_margin(searches, 0.4, 0.1)
    assert margin == pytest.approx(0.05, abs=2e-4)
    assert margin_rates(searches, 0.4, margin).misidentified == 0
    assert margin_rates(searches, 0.4, margin - 2e-4).misidentified == 1 / 4
    assert min_margin(searches, 0.4, 0.25) == 0  # one of four may be wrong


def test_a_tie_counts_against_the_person() -> None:
    split = Split([["p0"], ["p1"]], [("m", 0)], ["s0"], 1)
    tied = {**VECTORS, "m": unit(0.5, 0.5, 0)}
    [found] = search_galleries(split, tied, "best", [2], "mismatch")
    assert found.rank.tolist() == [2]
    assert found.mated.margin.tolist() == [0]


@pytest.mark.parametrize(("scoring", "similarity"), [("best", 1.0), ("centroid", np.sqrt(0.5))])
def test_a_person_of_two_faces_is_scored_as_a_gallery_does(
    scoring: Scoring, similarity: float
) -> None:
    split = Split([["p0", "p1", "lost"], ["p2"]], [("m", 0)], ["s0"], 1)
    [found] = search_galleries(split, VECTORS | {"m": VECTORS["p0"]}, scoring, [2], "mismatch")
    assert found.mate == pytest.approx([similarity])
    assert found.mated.second == pytest.approx([0], abs=1e-6)


def test_larger_galleries_follow_from_the_false_match_rate() -> None:
    # Of 1000 comparisons ten reach 0.2, and one reaches 0.5.
    accepted = np.zeros(2 * STEPS + 1, np.int64)
    accepted[: round(1.2 * STEPS) + 1] = 10
    accepted[: round(1.5 * STEPS) + 1][accepted[: round(1.5 * STEPS) + 1] == 0] = 1
    nobody = Candidates(np.asarray([-0.2]), np.asarray([0.0]))
    known = Candidates(np.asarray([0.4]), np.asarray([0.0]))
    searches = Searches(
        10, known, nobody, np.asarray([0.4]), np.asarray([1]), accepted, comparisons=1000
    )
    hundred, thousand = extrapolate(
        searches, [100, 1000], IdentificationOptions(fpir=0.1, bootstrap=0)
    )
    # 1 - 0.9^(1/100) = 0.00105: one of 1000 comparisons may be accepted.
    assert hundred.wanted_fmr == pytest.approx(0.00105305, rel=1e-4)
    assert (hundred.threshold, hundred.fmr) == (0.2001, 0.001)
    assert hundred.fpir == pytest.approx(1 - 0.999**100)
    assert (hundred.measurable, hundred.reliable, hundred.fnir) == (True, False, 0)
    # 1 - 0.9^(1/1000) = 0.000105 takes 9,491 comparisons: none may be accepted.
    assert (thousand.threshold, thousand.measurable) == (0.5001, False)
    assert (thousand.fpir, thousand.fnir) == (0, 1)


def test_a_larger_gallery_gets_no_lower_threshold_than_the_measured_one(searches: Searches) -> None:
    # m0 has 0.8 and the highest stranger 0.6: half way lies 0.7. Of the 12 comparisons none may be
    # accepted, for which 0.6001 would do.
    [found] = extrapolate(searches, [100], IdentificationOptions(fpir=0.1, bootstrap=0))
    assert found.threshold == pytest.approx(0.7, abs=2e-4)


def test_an_extrapolation_agrees_with_a_larger_gallery_of_strangers_drawn_alike() -> None:
    generator = np.random.default_rng(5)
    enrolled, strangers = 400, 2000
    points = generator.normal(size=(enrolled + strangers + 1, 24))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    names = [f"v{number}" for number in range(len(points))]
    vectors = dict(zip(names, points.astype(np.float32), strict=True))
    split = Split(
        [[name] for name in names[:enrolled]],
        [(names[-1], 0)],
        names[enrolled : enrolled + strangers],
        strangers,
    )
    small, large = search_galleries(split, vectors, "best", [40, enrolled], "mismatch")
    [found] = extrapolate(small, [enrolled], IdentificationOptions(fpir=0.2, bootstrap=0))
    assert found.reliable
    measured = rates_at(large, found.threshold).fpir
    assert found.fpir == pytest.approx(0.2, abs=0.01)
    assert measured.value == pytest.approx(0.2, abs=0.04)


def test_wilsons_interval_of_no_hit_and_of_half() -> None:
    none = proportion(np.zeros(10, np.bool_))
    # z^2 / (n + z^2) with z = 1.96.
    assert (none.value, none.low) == pytest.approx((0, 0))
    assert none.high == pytest.approx(3.8415 / 13.8415, abs=1e-4)
    half = proportion(np.arange(20) < 10)
    assert (half.low, half.high) == pytest.approx((0.2993, 0.7007), abs=1e-4)


def test_persons_and_their_photos_are_split_by_the_seed() -> None:
    photos = {f"p{number}": [f"p{number}/{photo}" for photo in "abcde"] for number in range(10)}
    photos["single"] = ["single/a"]
    options = IdentificationOptions(non_mated=0.3, enrolled_photos=2)
    split = split_persons(photos, options)
    assert split_persons(photos, options) == split
    assert split_persons(photos, options.model_copy(update={"seed": 1})) != split
    assert (split.others, len(split.enrolled)) == (3, 8)
    used = split.photos
    assert sorted(used) == sorted(photo for own in photos.values() for photo in own)
    persons = [{photo.partition("/")[0] for photo in own} for own in split.enrolled]
    for photo, number in split.mated:
        assert persons[number] == {photo.partition("/")[0]}
    assert all(len(own) <= 2 for own in split.enrolled)
    enrolled = set.union(*persons)
    assert not enrolled & {photo.partition("/")[0] for photo in split.non_mated}


def test_a_folder_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(TooFewPersons, match="two persons or more"):
        split_persons({"a": ["a/1", "a/2"]}, NO_INTERVALS)
    with pytest.raises(TooFewPersons, match="each person has one photo"):
        split_persons({"a": ["a/1"], "b": ["b/1"]}, NO_INTERVALS)
    with pytest.raises(TooFewPersons, match="another --seed"):
        split_persons({"a": ["a/1", "a/2"], "b": ["b/1"]}, NO_INTERVALS)  # draws a as a stranger


def test_a_size_above_the_enrolled_persons_is_extrapolated_from_all_of_them() -> None:
    assert measured_sizes([], 50) == ([50], [])
    assert measured_sizes([20, 10], 50) == ([10, 20], [])
    assert measured_sizes([10, 100, 1000], 50) == ([10, 50], [100, 1000])
