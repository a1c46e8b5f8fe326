"""SHA256SUMS: written, read, and verified against the files beside it."""

from pathlib import Path

import pytest

from configs.catalogue import CATALOGUE
from deployments.errors import InvalidWeights
from deployments.weights.checksums import (
    check_folder,
    file_digest,
    read_checksums,
    verify_checksum,
    write_checksums,
)

# The SHA-256 of "abc" (FIPS 180-2, appendix B.1) and of an empty file.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
RTS, DEFAULT = CATALOGUE["rts"], CATALOGUE["arcface-mbf"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights `abc` and an empty configuration, both with their checksums."""
    (tmp_path / "pytorch_model.pt").write_bytes(b"abc")
    (tmp_path / "configuration.json").write_bytes(b"")
    write_checksums(tmp_path, ["pytorch_model.pt", "configuration.json"])
    return tmp_path


def test_a_digest_is_sha_256_in_hex(folder: Path) -> None:
    assert file_digest(folder / "pytorch_model.pt") == ABC
    assert file_digest(folder / "configuration.json") == EMPTY


def test_checksums_are_written_as_sha256sum_writes_them(folder: Path) -> None:
    expected = f"{ABC}  pytorch_model.pt\n{EMPTY}  configuration.json\n"
    assert (folder / "SHA256SUMS").read_text() == expected
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "configuration.json",
        "pytorch_model.pt",
    ]


def test_checksums_are_read_back_also_in_the_binary_format(folder: Path) -> None:
    checksums = {"pytorch_model.pt": ABC, "configuration.json": EMPTY}
    assert read_checksums(folder) == checksums
    (folder / "SHA256SUMS").write_text(f"{ABC} *pytorch_model.pt\n{EMPTY} *configuration.json")
    assert read_checksums(folder) == checksums


def test_writing_replaces_older_checksums(folder: Path) -> None:
    write_checksums(folder, ["configuration.json"])
    assert read_checksums(folder) == {"configuration.json": EMPTY}


@pytest.mark.parametrize("line", ["abc  pytorch_model.pt", f"{ABC}", "", f"{ABC.upper()}  a", "ü"])
def test_a_line_of_another_format_is_refused_by_its_number(folder: Path, line: str) -> None:
    (folder / "SHA256SUMS").write_text(f"{ABC}  pytorch_model.pt\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidWeights, match="SHA256SUMS: line 2: expected a SHA-256"):
        verify_checksum(folder / "pytorch_model.pt", model=RTS)


def test_checksums_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidWeights, match="SHA256SUMS: expected text"):
        read_checksums(folder)


def test_an_unchanged_file_passes(folder: Path) -> None:
    verify_checksum(folder / "pytorch_model.pt", model=RTS)
    verify_checksum(folder / "configuration.json", model=RTS)


def test_a_folder_without_checksums_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.pt").write_bytes(b"anything")
    verify_checksum(tmp_path / "pytorch_model.pt", model=RTS)
    assert read_checksums(tmp_path) is None
    assert check_folder(tmp_path, also=RTS.weights_files) == []


def test_a_changed_file_is_refused_with_both_checksums_and_the_remedy(folder: Path) -> None:
    weights = folder / "pytorch_model.pt"
    weights.write_bytes(b"")
    with pytest.raises(InvalidWeights) as refused:
        verify_checksum(weights, model=RTS)
    assert refused.value.message == (
        f"{weights}: SHA256SUMS lists {ABC}, found {EMPTY};"
        " fetch it anew with: facegraph models pull --again rts"
    )
    assert refused.value.details == {
        "model": "rts",
        "source": str(weights),
        "expected": ABC,
        "found": EMPTY,
    }


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    added = folder / "model.safetensors"
    added.write_bytes(b"abc")
    with pytest.raises(InvalidWeights, match=f"SHA256SUMS lists no such file, found {ABC}"):
        verify_checksum(added, model=RTS)


def test_a_listed_file_that_is_gone_is_refused(folder: Path) -> None:
    (folder / "pytorch_model.pt").unlink()
    with pytest.raises(InvalidWeights, match=f"SHA256SUMS lists {ABC}, found no file"):
        verify_checksum(folder / "pytorch_model.pt", model=RTS)


def test_the_remedy_is_no_pull_for_a_model_that_is_not_on_modelscope(folder: Path) -> None:
    (folder / "pytorch_model.pt").write_bytes(b"")
    with pytest.raises(InvalidWeights, match=r"; put the published file back$"):
        verify_checksum(folder / "pytorch_model.pt", model=DEFAULT)


def test_a_folder_is_checked_file_by_file(folder: Path) -> None:
    also = ("pytorch_model.pt", "model.safetensors")
    states = {check.name: check.state for check in check_folder(folder, also=also)}
    assert states == {"pytorch_model.pt": "ok", "configuration.json": "ok"}
    (folder / "pytorch_model.pt").write_bytes(b"changed")
    (folder / "configuration.json").unlink()
    (folder / "model.safetensors").write_bytes(b"abc")
    checks = check_folder(folder, also=also)
    assert [(check.name, check.state) for check in checks] == [
        ("pytorch_model.pt", "changed"),
        ("configuration.json", "missing"),
        ("model.safetensors", "unlisted"),
    ]
    assert [check.found for check in checks[1:]] == [None, ABC]


def test_a_models_own_checksum_is_verified_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.pt").write_bytes(b"abc")
    verify_checksum(tmp_path / "pytorch_model.pt", model=RTS.model_copy(update={"sha256": ABC}))
    other = RTS.model_copy(update={"sha256": EMPTY})
    with pytest.raises(InvalidWeights, match="sha256 of the model lists e3b0"):
        verify_checksum(tmp_path / "pytorch_model.pt", model=other)
