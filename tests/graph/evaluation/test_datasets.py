from pathlib import Path

import pytest

from graph.evaluation.datasets import (
    InvalidList,
    read_pairs,
    read_template_pairs,
    read_templates,
)
from graph.evaluation.pairs import Pair, PairList, TemplatePhoto


def listed_pairs(listed: PairList) -> list[Pair]:
    folds = [None] * len(listed) if listed.folds is None else listed.folds.tolist()
    return [
        Pair(*listed.names(index), bool(listed.same[index]), folds[index])
        for index in range(len(listed))
    ]


def written(folder: Path, text: str) -> Path:
    path = folder / "list"
    path.write_text(text)
    return path


def test_csv_columns_may_stand_in_any_order_and_names_may_hold_commas(tmp_path: Path) -> None:
    text = '\ufeffsame,a,b,note\n1,"x, y.jpg",z.jpg,\nno,z.jpg,w.jpg,seen twice\n'
    listed = read_pairs(written(tmp_path, text))
    assert listed_pairs(listed) == [Pair("x, y.jpg", "z.jpg", True), Pair("z.jpg", "w.jpg", False)]
    assert listed.members == ["x, y.jpg", "z.jpg", "w.jpg"]
    assert listed.folds is None


def test_csv_may_give_folds(tmp_path: Path) -> None:
    listed = read_pairs(written(tmp_path, "a,b,same,fold\n1,2,1,3\n3,4,0,5\n"))
    assert listed.folds is not None
    assert listed.folds.tolist() == [3, 5]


def test_lfw_pairs_have_the_folds_of_the_file(tmp_path: Path) -> None:
    """Two sets of one pair of each kind, with tabs as in the published file."""
    text = "2\t1\nAda\t1\t4\nAda\t2\tBob\t10\nCy\t3\t12\nCy\t1\tBob\t1\n"
    listed = read_pairs(written(tmp_path, text))
    assert listed.format == "LFW pairs.txt"
    assert listed_pairs(listed) == [
        Pair("Ada/Ada_0001.jpg", "Ada/Ada_0004.jpg", True, 0),
        Pair("Ada/Ada_0002.jpg", "Bob/Bob_0010.jpg", False, 0),
        Pair("Cy/Cy_0003.jpg", "Cy/Cy_0012.jpg", True, 1),
        Pair("Cy/Cy_0001.jpg", "Bob/Bob_0001.jpg", False, 1),
    ]


def test_lfw_development_lists_have_no_folds(tmp_path: Path) -> None:
    listed = read_pairs(written(tmp_path, "1\nAda\t1\t4\nAda\t2\tBob\t10\n"))
    assert listed.folds is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column same"),
        ("a,b,same\n1,2,maybe\n", ":2: same: 'maybe'"),
        ("a,b,same\n1,2\n", ":2: 2 fields, expected 3"),
        ("a,b,same\n1,2,1\n", "1 pairs of one person and 0 of two"),
        ("a,b,same,fold\n1,2,1,x\n", ":2: fold: 'x'"),
        ("10 300\nAda 1\n", ":2: expected `name i j`"),
        ("10 300\nAda one 2\n", ":2: 'one' is not a photo's number"),
        ("photos of Ada\n", ":1: expected CSV's header"),
        ("", "0 pairs of one person"),
    ],
)
def test_a_wrong_list_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidList, match=message):
        read_pairs(written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InvalidList, match="not a text file"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("templates", "pairs"),
    [
        ("photo,template,medium\n1.jpg,7,70\n2.jpg,7,70\n3.jpg,8,80\n",
         "template_a,template_b,same\n7,8,1\n8,9,0\n"),
        ("1.jpg 7 70\n2.jpg 7 70\n3.jpg 8 80\n", "7 8 1\n8 9 0\n"),
    ],
    ids=["csv", "as with IJB-C"],
)  # fmt: skip
def test_templates_and_their_pairs_in_both_formats(
    tmp_path: Path, templates: str, pairs: str
) -> None:
    assert read_templates(written(tmp_path, templates)) == {
        "7": [TemplatePhoto("1.jpg", "70"), TemplatePhoto("2.jpg", "70")],
        "8": [TemplatePhoto("3.jpg", "80")],
    }
    listed = read_template_pairs(written(tmp_path, pairs))
    assert listed_pairs(listed) == [Pair("7", "8", True), Pair("8", "9", False)]


def test_lines_of_templates_need_three_fields(tmp_path: Path) -> None:
    with pytest.raises(InvalidList, match=":1: 2 fields, expected 3"):
        read_templates(written(tmp_path, "1.jpg 7\n"))
