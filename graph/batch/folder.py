"""Photos in a folder, told by the content of its files, and the files that are no photos."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import translate
from itertools import islice
from pathlib import Path

from deployments.images.formats import HEAD_BYTES, foreign_name, starts_image
from graph.batch.names import text_of

# Names of hidden files, and of those that systems and programs keep beside photos.
IGNORED = (
    ".*",
    "*.xmp",
    "*.aae",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
)
# Files are opened by several threads, as a network file system takes milliseconds for each.
_THREADS = 16
_FILES_PER_TASK = 100


@dataclass(frozen=True)
class FolderContents:
    """Names in a folder, relative to it, as `text_of` gives them, in order.

    photos: files that start as an image that is read. skipped: the reason for each other file, and
    for each folder that could not be searched.
    """

    photos: list[str]
    skipped: dict[str, str]


def search(folder: Path, ignored: Iterable[str]) -> FolderContents:
    """Search a folder at any depth for photos, by the first bytes of its files.

    ignored: patterns of names, such as `*.mov`, of files and folders that are passed over; upper
    and lower case are equal. Links to files are read; links to folders are not followed. Nothing
    but regular files is opened.
    """
    walk = _Walk(folder, ignored)
    with ThreadPoolExecutor(_THREADS) as threads:
        judged = list(threads.map(_reasons, _batches(walk.files())))
    reasons = {walk.name(path): reason for batch in judged for path, reason in batch.items()}
    photos = sorted(name for name, reason in reasons.items() if reason is None)
    skipped = walk.unsearched | {name: reason for name, reason in reasons.items() if reason}
    return FolderContents(photos, dict(sorted(skipped.items())))


def photos_by_person(folder: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Search a folder PERSON/PHOTO.jpg.

    Returns the photos, relative to the folder, by person, and the reason for each file that is
    passed over.
    """
    contents = search(folder, IGNORED)
    passed_over, photos = dict(contents.skipped), dict[str, list[str]]()
    for name in contents.photos:
        person, _, rest = name.partition("/")
        if rest:
            photos.setdefault(person, []).append(name)
        else:
            passed_over[name] = "in no person's folder"
    return photos, passed_over


class _Walk:
    """All files below a folder. unsearched: the reason for each folder that cannot be read."""

    def __init__(self, folder: Path, ignored: Iterable[str]) -> None:
        self._root = os.path.join(os.fsencode(folder), b"")
        self._is_ignored = _matcher(ignored)
        self.unsearched: dict[str, str] = {}

    def files(self) -> Iterator["os.DirEntry[bytes]"]:
        folders = [self._root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as found:
                    entries = [entry for entry in found if not self._is_ignored(entry.name)]
            except OSError as error:
                self.unsearched[self.name(folder)] = _strerror(error)
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry

    def name(self, path: bytes) -> str:
        return text_of(path[len(self._root) :] or b".")


def _matcher(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    expression = "|".join(translate(pattern.lower()) for pattern in patterns) or r"(?!)"
    matches = re.compile(expression).match
    return lambda name: matches(os.fsdecode(name).lower()) is not None


def _batches(
    files: Iterator["os.DirEntry[bytes]"],
) -> Iterator[list["os.DirEntry[bytes]"]]:
    while batch := list(islice(files, _FILES_PER_TASK)):
        yield batch


def _reasons(files: Iterable["os.DirEntry[bytes]"]) -> dict[bytes, str | None]:
    """The reason by path for which a file is no photo; None for a photo."""
    return {file.path: _reason(file) for file in files}


def _reason(file: "os.DirEntry[bytes]") -> str | None:
    try:
        if not file.is_file():
            return _kind(file)
        head = _head(file.path)
    except FileNotFoundError as error:
        return "a link to nothing" if file.is_symlink() else _strerror(error)
    except OSError as error:
        return _strerror(error)
    if starts_image(head):
        return None
    if not head:
        return "empty"
    foreign = foreign_name(head)
    return f"{foreign} is not read" if foreign else "no image that is read"


def _kind(file: "os.DirEntry[bytes]") -> str:
    mode = os.stat(file.path).st_mode
    if stat.S_ISDIR(mode):
        return "a link to a folder, which is not followed"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _head(path: bytes) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def _strerror(error: OSError) -> str:
    return error.strerror or str(error)
