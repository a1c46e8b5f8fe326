"""`facegraph keys`: keys made and listed, with their ends, exit codes and JSON."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from graph.http.keys import digest_of, new_key, read_keys
from tests.support.terminal import facegraph

OLD = digest_of(new_key().encode())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.yaml"
    file.write_text(f"# who uses the graph\nold: {OLD}")
    return file


def test_a_new_key_is_shown_once_and_the_file_keeps_its_digest(file: Path) -> None:
    done = facegraph("keys", "new", "phone", "--file", file)
    key = done.out.strip()
    assert done.code == 0
    assert len(key) > 40
    assert key not in file.read_text() + done.err
    assert (
        file.read_text() == f"# who uses the graph\nold: {OLD}\nphone: {digest_of(key.encode())}\n"
    )
    assert [entry.name for entry in file.parent.iterdir()] == ["keys.yaml"]


def test_a_taken_name_is_an_error_in_words_and_in_json(file: Path) -> None:
    before = file.read_text()
    done = facegraph("keys", "new", "old", "--file", file, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_config")
    assert "there is a key for 'old'" in done.json["error"]["message"]
    assert "there is a key for 'old'" in done.err
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("90d", lambda now: now + timedelta(days=90)),
        ("2127-01-31", lambda _: datetime(2127, 1, 31, tzinfo=timezone.utc)),
        ("2127-01-31T12:00:00+02:00", lambda _: datetime(2127, 1, 31, 10, tzinfo=timezone.utc)),
    ],
)
def test_a_new_key_may_have_an_end(
    file: Path, given: str, end: Callable[[datetime], datetime]
) -> None:
    now = datetime.now(timezone.utc)
    done = facegraph("keys", "new", "phone", "--file", file, "--expires", given, "--json")
    written = read_keys(file)["phone"]
    assert written.expires
    assert abs(written.expires - end(now)) < timedelta(seconds=10)
    assert datetime.fromisoformat(done.json["expires"].replace("Z", "+00:00")) == written.expires
    assert written.sha256.get_secret_value() == digest_of(done.json["key"].encode())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["a name"], "expected letters"),
        (["anonymous"], "stands for clients without a key"),
        (["phone", "--expires", "2020-01-31"], "2020-01-31T00:00:00Z is past"),
        (["phone", "--expires", "0d"], "is past"),
        (["phone", "--expires", "soon"], "--expires"),
    ],
)
def test_a_wrong_name_or_end_changes_nothing(file: Path, arguments: list[str], fault: str) -> None:
    before = file.read_text()
    done = facegraph("keys", "new", *arguments, "--file", file)
    assert (done.code, fault in done.err) == (2, True), done.err
    assert file.read_text() == before


def test_the_list_shows_ends_and_exits_1_for_a_key_that_has_expired_or_soon_will(
    file: Path,
) -> None:
    def listed(*options: str) -> tuple[int, list[tuple[str, int | None]]]:
        done = facegraph("keys", "list", "--file", file, "--json", *options)
        return done.code, [(key["name"], key["days_left"]) for key in done.json]

    facegraph("keys", "new", "phone", "--file", file, "--expires", "30d")
    assert listed() == (0, [("old", None), ("phone", 29)])
    assert listed("--within", "29") == (0, [("old", None), ("phone", 29)])
    assert listed("--within", "30")[0] == 1
    with file.open("a") as lines:
        lines.write(f"past: {{sha256: {OLD}, expires: 2020-01-31}}\n")
    code, keys = listed()
    assert (code, keys[2][0], keys[2][1] is not None and keys[2][1] < 0) == (1, "past", True)
    table = facegraph("keys", "list", "--file", file)
    assert table.code == 1
    for words in ("never", "29", "2020-01-31T00:00:00Z", "expired"):
        assert words in table.out
    assert OLD not in table.out


def test_a_missing_file_cannot_be_listed(tmp_path: Path) -> None:
    done = facegraph("keys", "list", "--file", tmp_path / "none.yaml", "--json")
    assert (done.code, "No such file" in done.json["error"]["message"]) == (2, True)


def test_a_new_key_may_have_scopes_and_galleries(file: Path) -> None:
    rights = ("--scopes", "search,verify", "--galleries", "staff")
    done = facegraph("keys", "new", "entrance", "--file", file, *rights)
    assert done.code == 0
    key = read_keys(file)["entrance"]
    assert (key.scopes, key.galleries) == (("search", "verify"), ("staff",))
    listed = facegraph("keys", "list", "--file", file)
    assert "search, verify in staff" in " ".join(listed.out.split())
    assert read_keys(file)["old"].scopes == ()


def test_an_unknown_scope_changes_nothing(file: Path) -> None:
    before = file.read_text()
    done = facegraph("keys", "new", "entrance", "--file", file, "--scopes", "find")
    assert (done.code, "'find' is none of verify, search, enrol, admin" in done.err) == (2, True)
    assert file.read_text() == before
