"""Photos in a folder, among other files."""

import os
import socket
from pathlib import Path

import pytest

from graph.batch.folder import IGNORED, FolderContents, search
from tests.support.photos import YAOMING, photo_bytes

JPEG = photo_bytes(YAOMING)
NONE = "no image that is read"


def searched(folder: Path, **files: bytes) -> FolderContents:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return search(folder, IGNORED)


def test_a_photo_is_told_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    for name in (b"a.jfif", b"b.jpe", b"c", b"d.txt", b"below/deeper/e\xff.JPG", b"f\n.jpg"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(JPEG)
    found = search(tmp_path, IGNORED)
    assert found.photos == [
        "a.jfif",
        "b.jpe",
        r"below/deeper/e\xff.JPG",
        "c",
        "d.txt",
        r"f\x0a.jpg",
    ]
    assert found.skipped == {}


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xd8\xff\xe1",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x01\x00\x00WEBPVP8L",
        b"BM",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x18ftypmif1",
        b"\x00\x00\x00\x1cftypavif",
    ],
)
def test_formats_that_are_read(tmp_path: Path, head: bytes) -> None:
    assert searched(tmp_path, photo=head).photos == ["photo"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\xff", NONE),
        (b"some text, and more of it", NONE),
        (b"\x00\x00\x00\x14ftypqt  ", NONE),  # a video
        (b"RIFF\x00\x01\x00\x00WAVEfmt ", NONE),
        (b"GIF89a", "GIF is not read"),
        (b"II*\x00", "TIFF is not read"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL is not read"),
    ],
)
def test_a_file_that_is_no_photo_has_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    found = searched(tmp_path, **{"a.jpg": content, "b.jpg": JPEG})
    assert (found.photos, found.skipped) == (["b.jpg"], {"a.jpg": reason})


def test_nothing_but_regular_files_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path is at most 107 bytes long
        try:
            listener.bind("socket.jpg")
        finally:
            os.chdir(here)
        found = search(tmp_path, IGNORED)
    assert found.skipped == {
        "null.jpg": "a device",
        "pipe.jpg": "a named pipe",
        "socket.jpg": "a socket",
    }


def test_links_to_files_are_read_and_no_link_leads_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "b.jpg").symlink_to("real/a.jpg")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    found = search(tmp_path, IGNORED)
    assert found.photos == ["b.jpg", "real/a.jpg"]
    assert found.skipped == {
        "gone.jpg": "a link to nothing",
        "loop.jpg": "Too many levels of symbolic links",
        "real/up": "a link to a folder, which is not followed",
    }


def test_files_and_folders_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "memory.jpg").symlink_to("/proc/self/mem")  # an error for root, too
    assert searched(tmp_path).skipped == {"memory.jpg": "Input/output error"}
    assert search(tmp_path / "none", IGNORED).skipped == {".": "No such file or directory"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_and_folders_without_permission_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "a.jpg").chmod(0)
    (tmp_path / "below").mkdir(mode=0)
    found = search(tmp_path, IGNORED)
    assert found.skipped == {"a.jpg": "Permission denied", "below": "Permission denied"}


def test_hidden_files_sidecars_and_excluded_names_are_passed_over(tmp_path: Path) -> None:
    for folder in (".thumbnails", "@eaDir", "Old", "below"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(JPEG)
    names = (".DS_Store", "._a.jpg", "a.JPG.XMP", "thumbs.db", "clip.MOV", "notes.txt")
    for name in names:
        (tmp_path / "below" / name).write_bytes(b"no photo")
    found = search(tmp_path, [*IGNORED, "*.mov", "old"])
    assert found.photos == ["below/a.jpg"]
    assert found.skipped == {"below/notes.txt": NONE}
