"""Lists of pairs and templates: CSV files, LFW's pairs.txt, and the lists that go with IJB-C."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployments.errors import InvalidRequest
from graph.evaluation.templates import TemplatePhoto, Templates
from graph.evaluation.verification import BoolArray, IntArray

_TRUE = ("1", "true", "yes", "same", "genuine")
_FALSE = ("0", "false", "no", "different", "impostor", "-1")
_BOM_OR_NOT = "utf-8-sig"


class InvalidList(InvalidRequest):
    """A list of pairs, templates or faces cannot be read; the message names the line."""


@dataclass(frozen=True, slots=True)
class Pair:
    """a, b: photos by their paths under the root, or templates by their ids. fold: None where the
    list has none."""

    a: str
    b: str
    same: bool
    fold: int | None = None


@dataclass(frozen=True, slots=True)
class PairList:
    pairs: Sequence[Pair]
    format: str

    @property
    def same(self) -> BoolArray:
        return np.asarray([pair.same for pair in self.pairs], np.bool_)

    @property
    def folds(self) -> IntArray | None:
        """int64 [P], or None where the list has no folds, or only one."""
        folds = [pair.fold for pair in self.pairs if pair.fold is not None]
        if len(folds) < len(self.pairs) or len(set(folds)) < 2:
            return None
        return np.asarray(folds, np.int64)

    @property
    def members(self) -> list[str]:
        """Every photo or template once, in the order of the list."""
        return list(dict.fromkeys(name for pair in self.pairs for name in (pair.a, pair.b)))


def read_pairs(path: Path) -> PairList:
    """A CSV file with the columns a, b, same and perhaps fold; or LFW's pairs.txt.

    Raises InvalidList naming the line that is wrong; FileNotFoundError.
    """
    lines = _lines(path)
    if lines and "," in lines[0][1]:
        pairs = PairList(list(_csv_pairs(path, lines, ("a", "b", "same"))), "CSV")
    else:
        pairs = PairList(list(_lfw_pairs(path, lines)), "LFW pairs.txt")
    return _of_both_kinds(path, pairs)


def read_template_pairs(path: Path) -> PairList:
    """A CSV file with the columns template_a, template_b, same; or lines of the three without a
    header, as ijbc_template_pair_label.txt."""
    lines = _lines(path)
    if lines and "," in lines[0][1]:
        columns = ("template_a", "template_b", "same")
        return _of_both_kinds(path, PairList(list(_csv_pairs(path, lines, columns)), "CSV"))
    fields = [(number, _split(path, number, line, 3)) for number, line in lines]
    pairs = [Pair(a, b, _truth(path, number, same)) for number, (a, b, same) in fields]
    return _of_both_kinds(path, PairList(pairs, "template pair labels"))


def read_templates(path: Path) -> Templates:
    """A CSV file with the columns photo, template, medium; or lines of the three without a header,
    as ijbc_face_tid_mid.txt."""
    lines = _lines(path)
    if lines and "," in lines[0][1]:
        rows = [tuple(row) for _, row in _csv_rows(path, lines, ("photo", "template", "medium"))]
    else:
        rows = [tuple(_split(path, number, line, 3)) for number, line in lines]
    templates: dict[str, list[TemplatePhoto]] = {}
    for photo, template, medium in rows:
        templates.setdefault(template, []).append(TemplatePhoto(photo, medium))
    if not templates:
        raise InvalidList(f"{path}: no templates in it")
    return templates


def _csv_pairs(
    path: Path, lines: list[tuple[int, str]], columns: tuple[str, str, str]
) -> Iterator[Pair]:
    for number, (a, b, same, fold) in _csv_rows(path, lines, columns, optional="fold"):
        yield Pair(a, b, _truth(path, number, same), _fold(path, number, fold))


def _csv_rows(
    path: Path, lines: list[tuple[int, str]], columns: tuple[str, ...], *, optional: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Each row's fields in the order of `columns`, then the optional one, empty where missing."""
    header = [name.strip().lower() for name in next(csv.reader([lines[0][1]]))]
    missing = [name for name in columns if name not in header]
    if missing:
        raise InvalidList(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
    wanted = [header.index(name) for name in columns]
    extra = header.index(optional) if optional in header else None
    for number, line in lines[1:]:
        row = [field.strip() for field in next(csv.reader([line]))]
        if len(row) != len(header):
            raise InvalidList(f"{path}:{number}: {len(row)} fields, expected {len(header)}")
        fields = [row[index] for index in wanted]
        if optional:
            fields.append(row[extra] if extra is not None else "")
        yield number, fields


def _lfw_pairs(path: Path, lines: list[tuple[int, str]]) -> Iterator[Pair]:
    """The head gives the number of sets and of pairs of each kind in one (a development list, only
    the latter); then, set after set, `name i j` for one person and `name i name j` for two."""
    if not lines:
        return
    head = _numbers(path, *lines[0])
    per_kind = head[-1]
    for index, (number, line) in enumerate(lines[1:]):
        fold = index // (2 * per_kind) if per_kind else 0
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) == 3:
            name, first, second = fields
            other, same = name, True
        elif len(fields) == 4:
            name, first, other, second = fields
            same = False
        else:
            raise InvalidList(f"{path}:{number}: expected `name i j` or `name i name j`")
        yield Pair(
            _lfw_photo(path, number, name, first),
            _lfw_photo(path, number, other, second),
            same,
            fold,
        )


def _lfw_photo(path: Path, number: int, name: str, index: str) -> str:
    if not index.strip().isdecimal():
        raise InvalidList(f"{path}:{number}: {index!r} is not a photo's number")
    name = name.strip()
    return f"{name}/{name}_{int(index):04d}.jpg"


def _of_both_kinds(path: Path, pairs: PairList) -> PairList:
    genuine = int(pairs.same.sum())
    impostors = len(pairs.pairs) - genuine
    if not genuine or not impostors:
        raise InvalidList(
            f"{path}: {genuine} pairs of one person and {impostors} of two; it takes both kinds"
        )
    return pairs


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        text = path.read_text(encoding=_BOM_OR_NOT)
    except UnicodeDecodeError as error:
        raise InvalidList(f"{path}: not a text file: {error}") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _split(path: Path, number: int, line: str, count: int) -> list[str]:
    fields = line.split()
    if len(fields) != count:
        raise InvalidList(f"{path}:{number}: {len(fields)} fields, expected {count}")
    return fields


def _numbers(path: Path, number: int, line: str) -> list[int]:
    fields = line.split()
    if not fields or len(fields) > 2 or not all(field.isdecimal() for field in fields):
        raise InvalidList(
            f"{path}:{number}: expected CSV's header (a,b,same) or the numbers of LFW's pairs.txt"
        )
    return [int(field) for field in fields]


def _truth(path: Path, number: int, value: str) -> bool:
    word = value.strip().lower()
    if word not in _TRUE + _FALSE:
        raise InvalidList(f"{path}:{number}: same: {value!r}, expected 1 or 0")
    return word in _TRUE


def _fold(path: Path, number: int, value: str) -> int | None:
    if value and not value.isdecimal():
        raise InvalidList(f"{path}:{number}: fold: {value!r}, expected a whole number")
    return int(value) if value else None
