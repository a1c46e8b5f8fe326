"""Checksums of weights: the file SHA256SUMS beside them, in the format of sha256sum(1)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from configs.catalogue import Model
from configs.files import write_atomically
from deployments.errors import InvalidWeights

CHECKSUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_BLOCK_BYTES = 1024 * 1024
_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A file's listed and actual checksum, both SHA-256 in hex.

    expected: as in SHA256SUMS; None if it does not list the file. found: the file's own; None if
    there is no file.
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
    """Verify a weights file against its model's checksum and its folder's SHA256SUMS, if any.

    Raises InvalidWeights for a changed, an unlisted or a missing file, naming the file, both
    checksums and the remedy; also if SHA256SUMS cannot be read.
    """
    if model.sha256 and path.name == Path(model.weights_file).name:
        _require_ok(_check(path, model.sha256), path, model, listed_by="sha256 of the model")
    checksums = read_checksums(path.parent)
    if checksums is not None:
        check = _check(path, checksums.get(path.name))
        _require_ok(check, path, model, listed_by=CHECKSUMS)


def _require_ok(check: FileCheck, path: Path, model: Model, *, listed_by: str) -> None:
    if check.state == "ok":
        return
    raise InvalidWeights(
        f"{path}: {listed_by} lists {check.expected or 'no such file'},"
        f" found {check.found or 'no file'}; {_remedy(model)}",
        model=model.id,
        source=str(path),
        expected=check.expected,
        found=check.found,
    )


def check_folder(folder: Path, *, also: Iterable[str] = ()) -> list[FileCheck]:
    """Check every file that SHA256SUMS lists, then those of `also` that exist but are not listed.

    Empty without SHA256SUMS. Raises InvalidWeights if it cannot be read.
    """
    checksums = read_checksums(folder)
    if checksums is None:
        return []
    listed = [_check(folder / name, expected) for name, expected in checksums.items()]
    unlisted = [_check(folder / name, None) for name in also if name not in checksums]
    return listed + [check for check in unlisted if check.state != "missing"]


def read_checksums(folder: Path) -> dict[str, str] | None:
    """The listed SHA-256 by file name, in hex; None if the folder has no SHA256SUMS.

    Raises InvalidWeights for a line that is not in the format of sha256sum(1).
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    checksums = {}
    for number, line in enumerate(_lines(path), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidWeights(
                f"{path}: line {number}: expected a SHA-256 and a file name", source=str(path)
            )
        checksums[match[2]] = match[1]
    return checksums


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write SHA256SUMS for these files of the folder, in place of an older one."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in names]
    write_atomically(folder / CHECKSUMS, "".join(lines))


def file_digest(path: Path) -> str:
    """The file's SHA-256, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def version_of(model: Model, path: Path) -> str:
    """The model's id and the start of its weights' SHA-256, such as `arcface-mbf@9cc6e4a75f0e`."""
    return f"{model.id}@{file_digest(path)[:_VERSION_DIGITS]}"


def is_version_of(version: str, digest: str) -> bool:
    """Whether a version is of weights with this SHA-256, in hex."""
    return version.rpartition("@")[2] == digest[:_VERSION_DIGITS]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidWeights(f"{path}: expected text: {error}", source=str(path)) from error


def _check(path: Path, expected: str | None) -> FileCheck:
    found = file_digest(path) if path.is_file() else None
    return FileCheck(path.name, expected, found)


def _remedy(model: Model) -> str:
    if model.modelscope:
        return f"fetch it anew with: facegraph models pull --again {model.id}"
    return "put the published file back"
