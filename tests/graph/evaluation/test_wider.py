from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from graph.evaluation.datasets import InvalidList
from graph.evaluation.detection import FoundBoxes
from graph.evaluation.wider import (
    ALL,
    DIFFICULTIES,
    read_predictions,
    read_wider,
    write_predictions,
)

PARADE, MEETING = "0--Parade/0_Parade_1.jpg", "1--Meeting/1_Meeting_2.jpg"
TEXT = f"""{PARADE}
3
10 20 30 60 0 0 0 0 0 0
50 60 7 8 2 0 0 0 2 0
70 80 90 400 0 0 0 1 0 0
{MEETING}
0
0 0 0 0 0 0 0 0 0 0
"""


def cell(*items: Any) -> "np.typing.NDArray[np.object_]":
    """A MATLAB cell column."""
    column = np.empty((len(items), 1), object)
    for index, item in enumerate(items):
        column[index, 0] = item
    return column


def write_mats(folder: Path) -> None:
    names = {
        "event_list": cell("0--Parade", "1--Meeting"),
        "file_list": cell(cell("0_Parade_1"), cell("1_Meeting_2")),
    }
    boxes = np.asarray([[10, 20, 30, 60], [50, 60, 7, 8], [70, 80, 90, 400]], np.float64)
    truth = cell(cell(boxes), cell(np.zeros((0, 4))))
    invalid = cell(cell(np.asarray([[0], [0], [1]])), cell(np.zeros((0, 1))))
    savemat(
        folder / "wider_face_val.mat",
        names | {"face_bbx_list": truth, "invalid_label_list": invalid},
    )
    kept = {"easy": [[1]], "medium": [[1]], "hard": [[1], [2]]}  # faces count from 1
    for level, faces in kept.items():
        counted = cell(cell(np.asarray(faces)), cell(np.zeros((0, 1))))
        savemat(folder / f"wider_{level}_val.mat", names | {"gt_list": counted})


def test_text_ground_truth_has_groups_by_height_and_ignores_what_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "wider_face_val_bbx_gt.txt"
    path.write_text(TEXT)
    known = read_wider(path, None)
    assert not known.official
    assert list(known.faces) == [PARADE, MEETING]
    assert known.faces[PARADE].boxes.tolist()[1] == [50, 60, 7, 8]
    groups = {name: flags.tolist() for name, flags in known.faces[PARADE].settings.items()}
    assert groups == {
        ALL: [True, False, False],
        "small (10-50 px)": [False, False, False],
        "medium (50-300 px)": [True, False, False],
        "large (300 px on)": [False, False, False],
    }
    assert known.faces[MEETING].boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["wider_face_val.mat", "wider_face_val_bbx_gt.txt"])
def test_published_lists_decide_which_faces_are_easy(tmp_path: Path, name: str) -> None:
    write_mats(tmp_path)
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text(TEXT)
    known = read_wider(tmp_path / name, tmp_path)
    assert known.official
    assert known.settings == DIFFICULTIES
    counted = {level: flags.tolist() for level, flags in known.faces[PARADE].settings.items()}
    assert counted == {
        "easy": [True, False, False],
        "medium": [True, False, False],
        "hard": [True, True, False],
    }


def test_mat_and_text_ground_truth_say_the_same(tmp_path: Path) -> None:
    write_mats(tmp_path)
    (tmp_path / "truth.txt").write_text(TEXT)
    from_mat = read_wider(tmp_path / "wider_face_val.mat", None).faces[PARADE]
    from_text = read_wider(tmp_path / "truth.txt", None).faces[PARADE]
    assert (from_mat.boxes == from_text.boxes).all()
    assert from_mat.settings[ALL].tolist() == from_text.settings[ALL].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{PARADE}\nmany\n", ":2: expected the number of faces"),
        (f"{PARADE}\n1\n1 2 3\n", ":3: expected 10 numbers"),
        (f"{PARADE}\n2\n1 2 3 4 0 0 0 0 0 0\n", "expected 10 numbers"),
        ("", "no photos in it"),
    ],
)
def test_a_broken_ground_truth_is_named_by_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "truth.txt"
    path.write_text(text)
    with pytest.raises(InvalidList, match=message):
        read_wider(path, None)


def test_lists_of_other_photos_are_refused(tmp_path: Path) -> None:
    write_mats(tmp_path)
    (tmp_path / "truth.txt").write_text(TEXT.replace("0_Parade_1", "0_Parade_9"))
    with pytest.raises(InvalidList, match=r"no list for 0--Parade/0_Parade_9\.jpg"):
        read_wider(tmp_path / "truth.txt", tmp_path)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = {PARADE: FoundBoxes(np.asarray([[1.5, 2, 3, 4], [5, 6, 7, 8]]), np.asarray([0.9, 0.2]))}
    write_predictions(tmp_path, found)
    text = (tmp_path / "0--Parade" / "0_Parade_1.txt").read_text()
    assert text == "0_Parade_1.jpg\n2\n1.5 2 3 4 0.9\n5 6 7 8 0.2\n"
    read = read_predictions(tmp_path, [PARADE, MEETING])
    assert (read[PARADE].boxes == found[PARADE].boxes).all()
    assert len(read[MEETING].scores) == 0


def test_predictions_in_any_order_come_best_first(tmp_path: Path) -> None:
    path = tmp_path / "0--Parade" / "0_Parade_1.txt"
    path.parent.mkdir()
    path.write_text("0_Parade_1.jpg\n2\n1 1 1 1 0.2\n2 2 2 2 0.8\n")
    assert read_predictions(tmp_path, [PARADE])[PARADE].scores.tolist() == [0.8, 0.2]
    path.write_text("0_Parade_1.jpg\n1\n1 1 1\n")
    with pytest.raises(InvalidList, match="x y width height score"):
        read_predictions(tmp_path, [PARADE])
