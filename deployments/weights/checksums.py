"""SHA-256 records beside weights: a file SHA256SUMS, as sha256sum(1) writes and checks it."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from configs.catalogue import Model
from deployments.errors import InvalidWeights

RECORDS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A file beside its record, digests in hex.

    expected: what the record lists, None if it does not list the file. found: the digest of what
    is there, None if nothing is.
    """

    name: str
    expected: str | None
    found: str | None

    @property
    def state(self) -> Literal["ok", "changed", "missing", "unlisted"]:
        if self.found is None:
            return "missing"
        if self.expected is None:
            return "unlisted"
        return "ok" if self.found == self.expected else "changed"


def verify_checksum(path: Path, *, model: Model) -> None:
    """Passes a weights file that its folder's record lists with the digest that it has.

    A folder without SHA256SUMS has nothing to be held against, and passes. Raises InvalidWeights,
    naming the file, both digests and the way out; also for a record that cannot be read.
    """
    records = read_checksums(path.parent)
    if records is None:
        return
    check = _check(path, records.get(path.name))
    if check.state != "ok":
        expected = check.expected or "no such file"
        raise InvalidWeights(
            f"{path}: {RECORDS} lists {expected}, found {check.found or 'no file'};"
            f" {_way_out(model)}",
            model=model.id,
            source=str(path),
            expected=check.expected,
            found=check.found,
        )


def check_folder(folder: Path, *, also: Iterable[str] = ()) -> list[FileCheck]:
    """Every file that the folder's record lists, then those of `also` that are there unlisted.

    Empty where there is no record. Raises InvalidWeights for a record that cannot be read.
    """
    records = read_checksums(folder)
    if records is None:
        return []
    listed = [_check(folder / name, expected) for name, expected in records.items()]
    unlisted = [_check(folder / name, None) for name in also if name not in records]
    return listed + [check for check in unlisted if check.state != "missing"]


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Digests by file name, or None where the folder has no SHA256SUMS.

    Raises InvalidWeights for a line that is not sha256sum(1)'s.
    """
    path = folder / RECORDS
    if not path.is_file():
        return None
    records = {}
    for number, line in enumerate(_lines(path), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidWeights(
                f"{path}: line {number}: expected a SHA-256 and a file name", source=str(path)
            )
        records[match[2]] = match[1]
    return records


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Record the digests of these files of the folder, in place of any older record."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in names]
    draft = folder / f"{RECORDS}.new"
    draft.write_text("".join(lines), encoding="utf-8")
    draft.replace(folder / RECORDS)


def file_digest(path: Path) -> str:
    """SHA-256, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidWeights(f"{path}: expected text: {error}", source=str(path)) from error


def _check(path: Path, expected: str | None) -> FileCheck:
    found = file_digest(path) if path.is_file() else None
    return FileCheck(path.name, expected, found)


def _way_out(model: Model) -> str:
    if model.modelscope:
        return f"fetch it anew with: facegraph models pull --again {model.id}"
    return "put the published file back"
