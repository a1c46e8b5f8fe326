"""Readers and writer of WIDER FACE's files: ground truth (.txt or .mat), settings, predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.extras import install_command
from deployments.contracts import DoubleArray
from graph.evaluation.datasets import InvalidList
from graph.evaluation.detection import FoundBoxes, TrueFaces
from graph.evaluation.verification import BoolArray, IntArray

DIFFICULTIES = ("easy", "medium", "hard")
# Groups of faces by height in pixels (Yang et al., WIDER FACE, 2016, section 3).
HEIGHTS = {
    "small (10-50 px)": (10, 50),
    "medium (50-300 px)": (50, 300),
    "large (300 px on)": (300, np.inf),
}
ALL = "all (10 px on)"
# A face's line: x y width height, then blur, expression, illumination, invalid, occlusion, pose.
_FIELDS = 10
_INVALID = 7


@dataclass(frozen=True, slots=True)
class WiderSet:
    """Ground truth of the set. faces: by the photo's path under the images folder (event/name.jpg).

    official: True if the settings are the published easy, medium and hard.
    """

    faces: Mapping[str, TrueFaces]
    settings: tuple[str, ...]
    official: bool


def read_wider(ground_truth: Path, lists: Path | None) -> WiderSet:
    """Read the ground truth, and the settings if there are lists of them.

    ground_truth: wider_face_val_bbx_gt.txt or wider_face_val.mat. lists: the folder of
    wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat, or None: faces are then grouped
    by height. These groups are not easy, medium and hard, which were defined by the recall of a
    proposal method and cannot be computed from the boxes.

    Raises InvalidList, FileNotFoundError.
    """
    read = _mat_boxes if ground_truth.suffix == ".mat" else _text_boxes
    boxes, invalid = read(ground_truth)
    if lists is None:
        faces = {
            photo: TrueFaces(table, _by_height(table, invalid[photo]))
            for photo, table in boxes.items()
        }
        return WiderSet(faces, (ALL, *HEIGHTS), official=False)
    counted = {level: _listed(lists / f"wider_{level}_val.mat", boxes) for level in DIFFICULTIES}
    faces = {
        photo: TrueFaces(table, {level: counted[level][photo] for level in DIFFICULTIES})
        for photo, table in boxes.items()
    }
    return WiderSet(faces, DIFFICULTIES, official=True)


def read_predictions(folder: Path, photos: list[str]) -> dict[str, FoundBoxes]:
    """Read boxes in WIDER FACE's layout: event/name.txt with the photo's name, the number of boxes,
    and lines of `x y width height score`. A photo without a file has no boxes."""
    return {photo: _read_prediction((folder / photo).with_suffix(".txt")) for photo in photos}


def write_predictions(folder: Path, found: Mapping[str, FoundBoxes]) -> None:
    """Write boxes in the layout that the official evaluation tools read."""
    for photo, boxes in found.items():
        path = (folder / photo).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = np.column_stack([boxes.boxes, boxes.scores])
        lines = [" ".join(f"{value:.6g}" for value in row) for row in rows]
        path.write_text("\n".join([Path(photo).name, str(len(rows)), *lines]) + "\n")


def _read_prediction(path: Path) -> FoundBoxes:
    if not path.is_file():
        return FoundBoxes(np.zeros((0, 4)), np.zeros(0))
    try:
        rows = [
            [float(field) for field in line.split()] for line in path.read_text().splitlines()[2:]
        ]
        table = np.asarray(rows, np.float64).reshape(-1, 5)
    except ValueError as error:
        raise InvalidList(f"{path}: expected lines of `x y width height score`: {error}") from error
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return FoundBoxes(table[:, :4], table[:, 4])


def _text_boxes(path: Path) -> tuple[dict[str, DoubleArray], dict[str, BoolArray]]:
    """Boxes [N,4] and masks of the invalid faces [N], by photo."""
    tables = dict(_text_photos(path))
    if not tables:
        raise InvalidList(f"{path}: no photos in it")
    boxes = {photo: table[:, :4] for photo, table in tables.items()}
    return boxes, {photo: table[:, _INVALID] > 0 for photo, table in tables.items()}


def _text_photos(path: Path) -> Iterator[tuple[str, DoubleArray]]:
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for number, photo in lines:
        if not photo.strip():
            continue
        _, count = next(lines, (0, ""))
        if not count.strip().isdecimal():
            raise InvalidList(f"{path}:{number + 1}: expected the number of faces, got {count!r}")
        # A photo without faces has one line of zeros, too.
        rows = [_text_row(path, *next(lines, (0, ""))) for _ in range(max(int(count), 1))]
        yield photo.strip(), np.asarray(rows[: int(count)], np.float64).reshape(-1, _FIELDS)


def _text_row(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(field) for field in line.split()]
    except ValueError:
        values = []
    if len(values) != _FIELDS:
        raise InvalidList(f"{path}:{number}: expected {_FIELDS} numbers for a face, got {line!r}")
    return values


def _mat_boxes(path: Path) -> tuple[dict[str, DoubleArray], dict[str, BoolArray]]:
    """The same as `_text_boxes`; no face is invalid if the file has no labels."""
    content = _mat(path)
    boxes = {
        photo: np.asarray(cell, np.float64).reshape(-1, 4)
        for photo, cell in _cells(path, content, "face_bbx_list")
    }
    if "invalid_label_list" not in content:
        return boxes, {photo: np.zeros(len(table), np.bool_) for photo, table in boxes.items()}
    labels = _cells(path, content, "invalid_label_list")
    return boxes, {photo: np.asarray(cell).reshape(-1) > 0 for photo, cell in labels}


def _listed(path: Path, boxes: Mapping[str, DoubleArray]) -> dict[str, BoolArray]:
    """Masks of the faces that a setting's list names, by photo. The list counts faces from 1."""
    indices: dict[str, IntArray] = {
        photo: np.asarray(cell, np.int64).reshape(-1) - 1
        for photo, cell in _cells(path, _mat(path), "gt_list")
    }
    missing = [photo for photo in boxes if photo not in indices]
    if missing:
        raise InvalidList(f"{path}: has no list for {missing[0]} ({len(missing)} photos in all)")
    counted = {}
    for photo, table in boxes.items():
        if len(indices[photo]) and indices[photo].max() >= len(table):
            raise InvalidList(f"{path}: {photo}: face {indices[photo].max() + 1} of {len(table)}")
        counted[photo] = np.isin(np.arange(len(table)), indices[photo])
    return counted


def _cells(path: Path, content: Mapping[str, Any], variable: str) -> Iterator[tuple[str, Any]]:
    """Photos and their cells of a variable that is parallel to `event_list` and `file_list`."""
    absent = [key for key in ("event_list", "file_list", variable) if key not in content]
    if absent:
        raise InvalidList(f"{path}: no {', '.join(absent)} in it")
    for event, files, parts in zip(
        content["event_list"], content["file_list"], content[variable], strict=True
    ):
        for file, part in zip(files[0], parts[0], strict=True):
            yield f"{event[0][0]}/{file[0][0]}.jpg", part[0]


def _mat(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise InvalidList(
            f"{path}: MATLAB files take scipy: {install_command('evaluation')}"
        ) from error
    try:
        content: dict[str, Any] = loadmat(path)
    except (ValueError, NotImplementedError) as error:
        raise InvalidList(f"{path}: not a MATLAB file that scipy reads: {error}") from error
    return content


def _by_height(boxes: DoubleArray, invalid: BoolArray) -> dict[str, BoolArray]:
    """Masks of the faces of each group of heights, by group; invalid faces are in none."""
    heights = np.where(invalid, -1.0, boxes[:, 3])
    grouped = {name: (heights >= low) & (heights < high) for name, (low, high) in HEIGHTS.items()}
    return {ALL: heights >= HEIGHTS["small (10-50 px)"][0], **grouped}
