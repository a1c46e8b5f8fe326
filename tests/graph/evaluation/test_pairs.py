import numpy as np
import pytest

from graph.evaluation.pairs import (
    Pair,
    PairList,
    TemplatePhoto,
    pair_list,
    template_vector,
    template_vectors,
)

VECTORS = {
    "frame1.jpg": np.asarray([1, 0], np.float32),
    "frame2.jpg": np.asarray([0, 1], np.float32),
    "photo.jpg": np.asarray([1, 0], np.float32),
}
TEMPLATE = [
    TemplatePhoto("frame1.jpg", "video"),
    TemplatePhoto("frame2.jpg", "video"),
    TemplatePhoto("photo.jpg", "photo"),
]


@pytest.fixture
def listed() -> PairList:
    return pair_list([Pair("x", "y", True), Pair("y", "z", False), Pair("z", "x", False)], "")


def test_cosines_of_every_pair_and_none_where_a_vector_is_missing(listed: PairList) -> None:
    vectors = {"x": np.asarray([0.6, 0.8]), "y": np.asarray([1.0, 0.0])}
    assert listed.cosines(vectors).tolist() == [pytest.approx(0.6), -np.inf, -np.inf]
    assert listed.cosines({}).tolist() == [-np.inf] * 3


def test_many_pairs_are_multiplied_as_one_by_one() -> None:
    generator = np.random.default_rng(8)
    vectors = {str(index): generator.normal(size=4) for index in range(50)}
    ends = generator.integers(0, 50, (40_000, 2))
    many = pair_list((Pair(str(a), str(b), bool(a == b)) for a, b in ends), "")
    expected = [float(vectors[str(a)] @ vectors[str(b)]) for a, b in ends]
    assert many.cosines(vectors) == pytest.approx(np.asarray(expected))


def test_members_are_known_by_name(listed: PairList) -> None:
    assert listed.members == ["x", "y", "z"]
    assert listed.names(2) == ("z", "x")
    assert listed.involving(["y"]).tolist() == [True, True, False]
    first, second = listed.member_values({"x": 1.0, "z": 3.0})
    assert (first[0], second[2], first[2]) == (1, 1, 3)
    assert np.isnan(second[0])


def test_folds_need_every_pair_to_have_one_and_two_of_them() -> None:
    assert pair_list([Pair("x", "y", True, 1), Pair("x", "z", False)], "").folds is None
    assert pair_list([Pair("x", "y", True, 1), Pair("x", "z", False, 1)], "").folds is None
    folds = pair_list([Pair("x", "y", True, 1), Pair("x", "z", False, 0)], "").folds
    assert folds is not None
    assert folds.tolist() == [1, 0]


def test_frames_are_averaged_before_media_are() -> None:
    # The video gives (0.5, 0.5), the photo (1, 0): in all (1.5, 0.5), of length sqrt(2.5).
    vector = template_vector(TEMPLATE, VECTORS)
    assert vector is not None
    assert vector.tolist() == pytest.approx([1.5 / np.sqrt(2.5), 0.5 / np.sqrt(2.5)])


def test_photos_without_a_face_are_left_out_of_their_template() -> None:
    missing = [*TEMPLATE, TemplatePhoto("faceless.jpg", "another")]
    vector, expected = template_vector(missing, VECTORS), template_vector(TEMPLATE, VECTORS)
    assert vector is not None
    assert expected is not None
    assert (vector == expected).all()


def test_a_template_without_any_face_has_no_vector() -> None:
    templates = {"1": TEMPLATE, "2": [TemplatePhoto("faceless.jpg", "a")]}
    assert list(template_vectors(templates, VECTORS)) == ["1"]
