"""Readers of lists of pairs and templates: CSV files, LFW's pairs.txt, IJB-C's lists."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from deployments.errors import InvalidRequest
from graph.evaluation.pairs import Pair, PairList, TemplatePhoto, Templates, pair_list

_TRUE = ("1", "true", "yes", "same", "genuine")
_FALSE = ("0", "false", "no", "different", "impostor", "-1")
_BOM_OR_NOT = "utf-8-sig"


class InvalidList(InvalidRequest):
    """A list of pairs, templates or faces that cannot be read; the message names the line."""


Lines = Iterator[tuple[int, str]]


def read_pairs(path: Path) -> PairList:
    """Read a CSV file with the columns a, b, same and optionally fold; or LFW's pairs.txt.

    Raises InvalidList, FileNotFoundError.
    """
    lines, is_csv = _opened(path)
    if is_csv:
        return _of_both_kinds(path, _csv_pairs(path, lines, ("a", "b", "same")), "CSV")
    return _of_both_kinds(path, _lfw_pairs(path, lines), "LFW pairs.txt")


def read_template_pairs(path: Path) -> PairList:
    """Read a CSV file with the columns template_a, template_b, same; or lines of the three without
    a header, as in ijbc_template_pair_label.txt. Raises as `read_pairs` does."""
    lines, is_csv = _opened(path)
    if is_csv:
        columns = ("template_a", "template_b", "same")
        return _of_both_kinds(path, _csv_pairs(path, lines, columns), "CSV")
    return _of_both_kinds(path, _bare_pairs(path, lines), "template pair labels")


def read_templates(path: Path) -> Templates:
    """Read a CSV file with the columns photo, template, medium; or lines of the three without a
    header, as in ijbc_face_tid_mid.txt. Raises as `read_pairs` does."""
    lines, is_csv = _opened(path)
    columns = ("photo", "template", "medium")
    rows = (
        (row for _, row in _csv_rows(path, lines, columns))
        if is_csv
        else (_three_fields(path, number, line) for number, line in lines)
    )
    templates: dict[str, list[TemplatePhoto]] = {}
    for photo, template, medium in rows:
        templates.setdefault(template, []).append(TemplatePhoto(photo, medium))
    if not templates:
        raise InvalidList(f"{path}: no templates in it")
    return templates


def _bare_pairs(path: Path, lines: Lines) -> Iterator[Pair]:
    for number, line in lines:
        a, b, same = _three_fields(path, number, line)
        yield Pair(a, b, _truth(path, number, same))


def _csv_pairs(path: Path, lines: Lines, columns: tuple[str, str, str]) -> Iterator[Pair]:
    for number, (a, b, same, fold) in _csv_rows(path, lines, columns, optional="fold"):
        yield Pair(a, b, _truth(path, number, same), _fold(path, number, fold))


def _csv_rows(
    path: Path, lines: Lines, columns: tuple[str, ...], *, optional: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row, in the order of `columns`; then the optional column's,
    empty if the file has no such column."""
    header = [name.strip().lower() for name in next(csv.reader([next(lines)[1]]))]
    missing = [name for name in columns if name not in header]
    if missing:
        raise InvalidList(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
    wanted = [header.index(name) for name in columns]
    extra = header.index(optional) if optional in header else None
    for number, line in lines:
        row = [field.strip() for field in next(csv.reader([line]))]
        if len(row) != len(header):
            raise InvalidList(f"{path}:{number}: {len(row)} fields, expected {len(header)}")
        fields = [row[index] for index in wanted]
        if optional:
            fields.append(row[extra] if extra is not None else "")
        yield number, fields


def _lfw_pairs(path: Path, lines: Lines) -> Iterator[Pair]:
    """The pairs of a file in the format of LFW's pairs.txt.

    The first line gives the number of sets and the number of pairs of each kind in a set (in a
    development list only the latter). Then come the sets: lines `name i j` for genuine pairs,
    `name i name j` for impostor pairs.
    """
    head = next(lines, None)
    if head is None:
        return
    per_kind = _numbers(path, *head)[-1]
    for index, (number, line) in enumerate(lines):
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


def _of_both_kinds(path: Path, pairs: Iterator[Pair], format: str) -> PairList:
    """The list of these pairs. Raises InvalidList without a genuine or an impostor pair."""
    listed = pair_list(pairs, format)
    genuine = int(listed.same.sum())
    if not genuine or genuine == len(listed):
        raise InvalidList(
            f"{path}: {genuine} pairs of one person and {len(listed) - genuine} of two;"
            " it takes both kinds"
        )
    return listed


def _opened(path: Path) -> tuple[Lines, bool]:
    """The lines, and True if the first is a CSV header."""
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        return lines, False
    return chain([first], lines), "," in first[1]


def _lines(path: Path) -> Lines:
    """Numbers and text of the lines that are not empty."""
    try:
        with path.open(encoding=_BOM_OR_NOT) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidList(f"{path}: not a text file: {error}") from error


def _three_fields(path: Path, number: int, line: str) -> list[str]:
    fields = line.split()
    if len(fields) != 3:
        raise InvalidList(f"{path}:{number}: {len(fields)} fields, expected 3")
    return fields


def _numbers(path: Path, number: int, line: str) -> list[int]:
    fields = line.split()
    if not fields or len(fields) > 2 or not all(field.isdecimal() for field in fields):
        raise InvalidList(
            f"{path}:{number}: expected CSV's header (a,b,same) or the numbers of LFW's pairs.txt"
        )
    return [int(field) for field in fields]


def _truth(path: Path, number: int, value: str) -> bool:
    word = value.lower()
    if word not in _TRUE + _FALSE:
        raise InvalidList(f"{path}:{number}: same: {value!r}, expected 1 or 0")
    return word in _TRUE


def _fold(path: Path, number: int, value: str) -> int | None:
    if value and not value.isdecimal():
        raise InvalidList(f"{path}:{number}: fold: {value!r}, expected a whole number")
    return int(value) if value else None
